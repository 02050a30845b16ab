//! An authority that one browser trusts and that certifies one node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};

use super::Home;

/// A root that browsers can be told to trust, and an intermediate that certifies in its name, as
/// public authorities do.
pub(crate) struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let root = CertifiedIssuer::self_signed(issuer("the test's root"), key()).expect("a root");
        let intermediate =
            CertifiedIssuer::signed_by(issuer("the test's intermediate"), key(), &root)
                .expect("an intermediate");
        Self { root, intermediate }
    }

    /// Writes a certificate for `localhost` with its chain, and its key, into `folder`; says what of
    /// the node's configuration makes it show them.
    pub(crate) fn certify(&self, folder: &Path) -> [String; 2] {
        let key = key();
        let params = CertificateParams::new(["localhost".to_owned()]).expect("parameters");
        let leaf = params
            .signed_by(&key, &self.intermediate)
            .expect("a certificate");
        let (chain_file, key_file) = (folder.join("fullchain.pem"), folder.join("privkey.pem"));
        fs::write(&chain_file, leaf.pem() + &self.intermediate.pem()).expect("a file");
        fs::write(&key_file, key.serialize_pem()).expect("a file");
        [
            format!("tls.certificate={chain_file:?}"),
            format!("tls.key={key_file:?}"),
        ]
    }

    /// Makes the browser with this home trust the root: on Linux it asks the user's NSS database.
    pub(crate) fn make_trusted(&self, certutil: &Path, home: &Home) {
        let folder: PathBuf = home.path().join(".pki/nssdb");
        fs::create_dir_all(&folder).expect("a folder");
        let root = folder.join("root.pem");
        fs::write(&root, self.root.pem()).expect("a file");
        let database = format!("sql:{}", folder.display());
        let run = |arguments: &[&str]| {
            let mut command = Command::new(certutil);
            command.args(["-d", &database]).args(arguments);
            let Output { status, stderr, .. } = command.output().expect("certutil");
            assert!(
                status.success(),
                "certutil {arguments:?}: {status}\n{}",
                String::from_utf8_lossy(&stderr)
            );
        };
        run(&["-N", "--empty-password"]);
        // C: trusted to certify servers.
        let root = root.to_str().expect("UTF-8");
        run(&["-A", "-n", "the test's root", "-t", "C,,", "-i", root]);
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn issuer(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

//! 300 (Try Alternate): to another server and not in circles.

use sterna_stun::attr::{AlternateDomain, AlternateServer};

use super::*;

const HERE: &str = "203.0.113.1:3478";
const THERE: &str = "203.0.113.2:3478";
const THERE_V6: &str = "[2001:db8::2]:3478";

impl Bench {
    fn at(server: &str) -> Self {
        let mut bench = Self::new();
        bench.client.config.server = Some(addr(server));
        bench
    }

    /// Asks, is challenged, and is sent elsewhere.
    fn sent_to(&mut self, servers: &[&str], domain: Option<&str>) {
        let challenged = self.sent_one();
        assert!(!challenged.is_signed(), "the nonce is each server's own");
        self.give(&challenged.error(401, Some("nonce")));
        let signed = self.sent_one();
        assert!(signed.is_signed(), "by the same credentials");
        let answer = signed.answer(Class::Error, true, |writer| {
            write(writer, servers, domain);
        });
        assert_eq!(self.give(&answer), Received::Answer);
    }

    fn ask(&mut self) {
        self.client
            .allocate(self.now, AllocateOptions::default())
            .unwrap();
    }

    fn failure(&mut self) -> ClientError {
        match &self.events()[..] {
            [Event::Failed { error, .. }] => *error,
            other => panic!("{other:?}"),
        }
    }

    fn redirect(&mut self) -> Redirect {
        match &self.events()[..] {
            [Event::Redirected(redirect)] => redirect.clone(),
            other => panic!("{other:?}"),
        }
    }
}

fn write(writer: &mut MessageWriter<'_>, servers: &[&str], domain: Option<&str>) {
    let code = ErrorCode::TRY_ALTERNATE;
    writer.attr(&ErrorCode { code, reason: "" }).unwrap();
    for server in servers {
        writer.attr(&AlternateServer(addr(server))).unwrap();
    }
    if let Some(domain) = domain {
        writer.attr(&AlternateDomain(domain)).unwrap();
    }
}

#[test]
fn the_same_allocation_is_asked_for_at_the_other_server_with_the_same_credentials() {
    let mut bench = Bench::at(HERE);
    bench.ask();
    bench.sent_to(&[THERE, THERE_V6], Some("there.example"));
    let redirect = bench.redirect();
    assert_eq!(redirect.server, addr(THERE));
    assert_eq!(redirect.domain.as_deref(), Some("there.example"));
    bench.client.follow(bench.now).unwrap();
    let challenged = bench.sent_one();
    assert!(!challenged.is_signed());
    bench.give(&challenged.error(401, Some("nonce-2")));
    let signed = bench.sent_one();
    bench.give(&signed.success(600));
    assert!(matches!(bench.events()[..], [Event::Allocated(_)]));
    assert_eq!(
        bench.client.follow(bench.now),
        Err(ClientError::NotRedirected)
    );
}

#[test]
fn a_server_of_the_family_in_use_is_preferred() {
    let mut bench = Bench::at("[2001:db8::1]:3478");
    bench.ask();
    bench.sent_to(&[THERE, THERE_V6], None);
    assert_eq!(bench.redirect().server, addr(THERE_V6));
}

// RFC 8489 §10: "If the client has been redirected to a server to which it has already sent this
// request within the last five minutes, it MUST ignore the redirection and consider the transaction
// to have failed."
#[test]
fn a_redirection_back_within_five_minutes_fails() {
    let mut bench = Bench::at(HERE);
    bench.ask();
    bench.sent_to(&[THERE], None);
    bench.redirect();
    bench.client.follow(bench.now).unwrap();
    bench.sent_to(&[HERE], None);
    assert_eq!(bench.failure(), ClientError::RedirectedInCircles);
    assert_eq!(
        bench.client.follow(bench.now),
        Err(ClientError::NotRedirected)
    );

    bench.now += Duration::from_secs(300);
    bench.ask();
    let signed = bench.sent_one();
    assert!(signed.is_signed(), "the nonce is still this server's");
    let answer = signed.answer(Class::Error, true, |writer| write(writer, &[HERE], None));
    bench.give(&answer);
    assert_eq!(bench.redirect().server, addr(HERE));
}

#[test]
fn a_chain_of_redirections_has_an_end() {
    let mut bench = Bench::at(HERE);
    bench.ask();
    for port in 1..limits::SERVERS_MAX {
        bench.sent_to(&[&format!("203.0.113.9:{port}")], None);
        bench.redirect();
        bench.client.follow(bench.now).unwrap();
    }
    bench.sent_to(&["203.0.113.9:999"], None);
    assert_eq!(bench.failure(), ClientError::RedirectedInCircles);
}

#[test]
fn a_redirection_that_is_not_signed_is_not_followed() {
    let mut bench = Bench::at(HERE);
    bench.ask();
    let first = bench.sent_one();
    let forged = first.answer(Class::Error, false, |writer| write(writer, &[THERE], None));
    bench.give(&forged);
    assert_eq!(bench.failure(), ClientError::Refused(300));

    bench.ask();
    let challenged = bench.sent_one();
    bench.give(&challenged.error(401, Some("nonce")));
    let signed = bench.sent_one();
    let forged = signed.answer(Class::Error, false, |writer| write(writer, &[THERE], None));
    assert_eq!(bench.give(&forged), Received::Ignored(Ignored::Unproven));
}

#[test]
fn a_redirection_to_nowhere_is_a_bad_answer() {
    for servers in [&[][..], &["0.0.0.0:3478"], &["203.0.113.2:0"]] {
        let mut bench = Bench::at(HERE);
        bench.ask();
        bench.sent_to(servers, None);
        assert_eq!(bench.failure(), ClientError::BadAnswer);
    }
}

//! What is refused: each with its own status, a counter, and nothing changed.

use sterna_control_api::key::SigningKey;
use sterna_control_api::problem::Code;
use sterna_control_api::signature::Freshness;
use sterna_control_client::{Caller, Filter};

use crate::raw::{Signed, get, now, send};
use crate::scene::{Place, beat, code, register_node};

pub(crate) async fn a_signature_is_refused_that_is_stale_replayed_of_another_key_or_over_another_body(
    place: Place,
) {
    let scene = place.start().await;
    let token = scene.join_token("default", 1).await;
    let key = SigningKey::from_seed(&[1; 32]);
    let (_, id) = scene.stranger(1);
    let body = serde_json::to_vec(&register_node(id, 1, "default")).unwrap();
    let good = || Signed {
        url: &scene.url,
        method: "POST",
        path: "/api/v1/nodes/register",
        key: &key,
        created: now(),
        freshness: Freshness::Nonce([1; 16]),
        signed_body: &body,
        sent_body: &body,
        token: &token,
    };
    let refused = async |signed: Signed<'_>, status: u16, code: &str| {
        let answer = signed.send().await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{answer:?}"
        );
        assert!(
            answer.head.contains("application/problem+json"),
            "{answer:?}"
        );
    };
    let stale = Signed {
        created: now() - 100,
        ..good()
    };
    refused(stale, 401, "stale_signature").await;
    let early = Signed {
        created: now() + 100,
        ..good()
    };
    refused(early, 401, "stale_signature").await;
    let other = SigningKey::from_seed(&[2; 32]);
    refused(
        Signed {
            key: &other,
            ..good()
        },
        401,
        "unauthorized",
    )
    .await;
    refused(
        Signed {
            signed_body: b"{}",
            ..good()
        },
        401,
        "unauthorized",
    )
    .await;
    let counted = Signed {
        freshness: Freshness::Counter(1),
        ..good()
    };
    refused(counted, 401, "unauthorized").await;
    assert_eq!(
        scene
            .admin
            .nodes(&Filter::default())
            .await
            .unwrap()
            .items
            .len(),
        0
    );
    let fresh = Signed {
        freshness: Freshness::Nonce([2; 16]),
        ..good()
    };
    assert_eq!(fresh.send().await.status, 200);
    refused(
        Signed {
            freshness: Freshness::Nonce([2; 16]),
            ..good()
        },
        409,
        "replayed",
    )
    .await;
    // A heartbeat's counter grows; another node's heartbeat is not there.
    let path = format!("/api/v1/nodes/{id}/heartbeat");
    let heartbeat = serde_json::to_vec(&beat(0, true)).unwrap();
    let beating = |counter| Signed {
        path: &path,
        signed_body: &heartbeat,
        sent_body: &heartbeat,
        token: "",
        freshness: Freshness::Counter(counter),
        ..good()
    };
    assert_eq!(beating(5).send().await.status, 200);
    refused(beating(5), 409, "replayed").await;
    assert_eq!(beating(6).send().await.status, 200);
    refused(
        Signed {
            key: &other,
            ..beating(7)
        },
        410,
        "gone",
    )
    .await;
    for (reason, least) in [
        ("stale", 2),
        ("bad_signature", 2),
        ("replayed", 2),
        ("unknown_key", 1),
    ] {
        let line = format!("control_auth_failures_total{{reason=\"{reason}\"}}");
        assert!(scene.metric(&line).await >= least, "{line}");
    }
    scene.control.stop().await;
}

pub(crate) async fn what_is_another_tenants_is_not_there(place: Place) {
    let scene = place.start().await;
    let (one, ours) = scene.device(1, &scene.enrolment_key(1, &[1]).await).await;
    let (_, theirs) = scene.device(2, &scene.enrolment_key(2, &[1]).await).await;
    assert_eq!(code(one.netmap(&theirs.id, None).await), Code::NotFound);
    let nobodys = sterna_control_api::DeviceId([7; 16]);
    assert_eq!(
        code(one.netmap(&nobodys, None).await),
        Code::NotFound,
        "the same for both"
    );
    assert!(
        one.netmap(&ours.id, None)
            .await
            .unwrap()
            .unwrap()
            .peers
            .is_empty()
    );
    assert_eq!(
        scene
            .metric("control_auth_failures_total{reason=\"not_theirs\"}")
            .await,
        2
    );
    scene.control.stop().await;
}

pub(crate) async fn a_body_that_is_too_large_or_wrong_is_refused_with_its_field(place: Place) {
    let scene = place.start().await;
    let Caller::Bearer(token) = admin(&scene) else {
        unreachable!()
    };
    let authorization = format!("Bearer {token}");
    let json = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
    ];
    let post = async |body: &[u8]| send(&scene.url, "POST", "/api/v1/regions", &json, body).await;
    let large = vec![b' '; (64 << 10) + 1];
    let answer = post(&large).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"));
    for (body, field) in [
        (r#"{"code":"eu","name":"E","weight":"x"}"#, "weight"),
        (r#"{"code":"eu","name":"E","colour":"x"}"#, "colour"),
        (r#"{"code":"EU","name":"E"}"#, "code"),
        (r#"{"code":"eu","name":"E","weight":0}"#, "weight"),
        (
            r#"{"code":"eu","name":"E","location":{"latitude":91,"longitude":0}}"#,
            "location.latitude",
        ),
        (r#"{"code":"eu"}"#, "name"),
        ("[", "the body"),
    ] {
        let answer = post(body.as_bytes()).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "malformed"),
            "{body}"
        );
        assert!(
            answer.detail().contains(field),
            "{body}: {}",
            answer.detail()
        );
    }
    let long = format!(r#"{{"code":"eu","name":"{}"}}"#, "x".repeat(200));
    assert_eq!(post(long.as_bytes()).await.status, 400);
    let text = [json[0], ("content-type", "text/plain")];
    let answer = send(&scene.url, "POST", "/api/v1/regions", &text, b"{}").await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (415, "unsupported_media_type")
    );
    let answer = send(&scene.url, "PUT", "/api/v1/regions", &json, b"{}").await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (405, "method_not_allowed")
    );
    assert!(
        answer.head.to_ascii_lowercase().contains("allow: "),
        "{answer:?}"
    );
    assert_eq!(get(&scene.url, "/api/v1/nothing").await.status, 404);
    let answer = send(&scene.url, "GET", "/api/v1/nodes?limit=0", &json, b"").await;
    assert_eq!(answer.status, 400);
    let answer = send(&scene.url, "GET", "/api/v1/nodes?colour=x", &json, b"").await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        scene
            .admin
            .regions(&Filter::default())
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    assert!(
        scene
            .metric("control_requests_total{route=\"/api/v1/regions\",code=\"413\"}")
            .await
            >= 1
    );
    scene.control.stop().await;
}

pub(crate) async fn an_address_that_guesses_is_slowed_down(place: Place) {
    let mut config = place.config();
    config.limits.attempts_per_address_per_min = 5;
    let scene = place.start_with(config).await;
    let guess = [(
        "authorization",
        "Bearer sterna-api-1.AAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    )];
    let mut answers = Vec::new();
    for _ in 0..8 {
        answers.push(send(&scene.url, "GET", "/api/v1/nodes", &guess, b"").await);
    }
    assert_eq!(answers[0].status, 401);
    let last = answers.last().unwrap();
    assert_eq!((last.status, last.code().as_str()), (429, "too_many"));
    assert!(
        last.head.to_ascii_lowercase().contains("retry-after: "),
        "{last:?}"
    );
    assert!(
        scene
            .metric("control_ratelimit_rejections_total{scope=\"attempts\"}")
            .await
            >= 1
    );
    scene.control.stop().await;
}

pub(crate) async fn what_is_unknown_and_what_is_forbidden_look_the_same(place: Place) {
    let scene = place.start().await;
    let made = scene.join_token("default", 1).await;
    let wrong_secret = format!("{}A", &made[..made.len() - 1]);
    let unknown = "sterna-join-1.AAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let of_another_kind = scene.enrolment_key(1, &[1]).await;
    let mut texts = Vec::new();
    for token in ["", unknown, &of_another_kind] {
        texts.push(join(&scene, token).await);
    }
    if wrong_secret != made {
        texts.push(join(&scene, &wrong_secret).await);
    }
    assert!(texts.windows(2).all(|pair| pair[0] == pair[1]), "{texts:?}");
    let nobody = get(&scene.url, "/api/v1/nodes").await;
    assert_eq!(nobody.body, texts[0]);
    assert!(
        nobody
            .head
            .to_ascii_lowercase()
            .contains("www-authenticate: bearer")
    );
    scene.control.stop().await;
}

async fn join(scene: &crate::scene::Scene, token: &str) -> String {
    let key = SigningKey::from_seed(&[1; 32]);
    let (_, id) = scene.stranger(1);
    let body = serde_json::to_vec(&register_node(id, 1, "default")).unwrap();
    let signed = Signed {
        url: &scene.url,
        method: "POST",
        path: "/api/v1/nodes/register",
        key: &key,
        created: now(),
        freshness: Freshness::Nonce(rand::random()),
        signed_body: &body,
        sent_body: &body,
        token,
    };
    let answer = signed.send().await;
    assert_eq!(answer.status, 401, "{token}");
    answer.body
}

fn admin(scene: &crate::scene::Scene) -> Caller {
    let token = std::fs::read_to_string(scene.control.admin_token_file()).unwrap();
    Caller::Bearer(token.trim().to_owned())
}

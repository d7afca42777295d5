//! Certificates: what is asked for, what is accepted, and how long it is kept. No namespaces needed.
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::UnixTime;
use tokio::time::Instant;

use tulle_proxy::identity::ca_client::{IssueError, Issuer, Issuing};
use tulle_proxy::identity::certificate::{CertificateRequest, Role};
use tulle_proxy::identity::manager::CertificateManager;
use tulle_proxy::spiffe::SpiffeId;
use tulle_proxy::telemetry::metrics::Metrics;
use tulle_proxy::tls::bundle::{Bundle, certificates};
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use crate::harness::authority::{Authority, Validity};
use crate::harness::{Mesh, PATIENCE, eventually};

fn identity(account: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/shop/sa/{account}")
        .parse()
        .unwrap()
}

#[test]
fn a_request_has_an_empty_subject_and_one_name() {
    let request = CertificateRequest::new(&identity("a")).unwrap();
    let pem = x509_parser::pem::parse_x509_pem(request.csr().as_bytes())
        .unwrap()
        .1;
    let (_, csr) = X509CertificationRequest::from_der(&pem.contents).unwrap();
    assert_eq!(csr.certification_request_info.subject.to_string(), "");
    let names: Vec<_> = csr
        .requested_extensions()
        .into_iter()
        .flatten()
        .filter_map(|extension| match extension {
            x509_parser::extensions::ParsedExtension::SubjectAlternativeName(names) => {
                Some(&names.general_names)
            }
            _ => None,
        })
        .flatten()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names, ["URI(spiffe://cluster.local/ns/shop/sa/a)"]);
    csr.verify_signature().unwrap();
    let key = csr.certification_request_info.subject_pki.parsed().unwrap();
    assert_eq!(key.key_size(), 256);
}

#[test]
fn only_an_answer_for_our_key_and_identity_is_accepted() {
    let (ours, others) = (Authority::new(), Authority::new());
    let a = identity("a");
    let answer = |make: &dyn Fn(&str) -> Vec<String>| {
        let request = CertificateRequest::new(&a).unwrap();
        let chain = make(request.csr());
        request
            .complete(&chain)
            .map(|certificate| certificate.identity().clone())
            .map_err(|err| err.to_string())
    };
    assert_eq!(answer(&|csr| ours.sign(csr, a.as_str())), Ok(a.clone()));

    let refused = |what: &str, make: &dyn Fn(&str) -> Vec<String>| {
        let answer = answer(make);
        assert!(answer.is_err(), "{what}: {answer:?}");
    };
    refused("nothing", &|_| vec![]);
    refused("one element", &|csr| {
        ours.sign(csr, a.as_str())[..1].to_vec()
    });
    refused("another identity", &|csr| {
        ours.sign(csr, identity("b").as_str())
    });
    refused("another key", &|_| {
        let other = CertificateRequest::new(&a).unwrap();
        ours.sign(other.csr(), a.as_str())
    });
    refused("roots of another authority", &|csr| {
        vec![ours.sign(csr, a.as_str())[0].clone(), others.roots_pem()]
    });
    refused("an ended certificate", &|csr| {
        ours.sign_for(csr, a.as_str(), Validity::Over)
    });
    refused("one that is not valid yet", &|csr| {
        ours.sign_for(csr, a.as_str(), Validity::NotYet)
    });
    refused("no PEM", &|_| vec!["hello".into(), ours.roots_pem()]);
    refused("no roots", &|csr| {
        vec![ours.sign(csr, a.as_str())[0].clone(), String::new()]
    });
}

#[test]
fn r03_a_chain_over_an_intermediate_is_believed_by_who_dials_and_by_who_is_dialled() {
    let root = Authority::new();
    let intermediate = root.intermediate();
    let signed_by = |authority: &Authority, account: &str| {
        let request = CertificateRequest::new(&identity(account)).unwrap();
        let answer = authority.sign(request.csr(), identity(account).as_str());
        (answer.clone(), request.complete(&answer))
    };
    let (_, peer) = signed_by(&root, "a");
    let (answer, over_intermediate) = signed_by(&intermediate, "b");
    assert_eq!(answer.len(), 3, "leaf, intermediate, roots");
    over_intermediate.unwrap();

    let (peer, now) = (peer.unwrap(), UnixTime::now());
    let shown = certificates(answer[..2].concat().as_bytes()).unwrap();
    peer.verify(&shown, &Role::Server(identity("b")), now)
        .unwrap();
    peer.verify(&shown, &Role::Client, now).unwrap();
    for role in [Role::Server(identity("b")), Role::Client] {
        assert!(peer.verify(&shown[..1], &role, now).is_err());
    }
}

#[test]
fn r03_an_answer_whose_intermediate_is_missing_is_refused() {
    let intermediate = Authority::new().intermediate();
    let request = CertificateRequest::new(&identity("a")).unwrap();
    let mut answer = intermediate.sign(request.csr(), identity("a").as_str());
    answer.remove(1);
    assert!(request.complete(&answer).is_err());
}

/// Signs after a number of failures, and notes when it was asked.
struct Signer {
    authority: Arc<Authority>,
    validity: Validity,
    failures: AtomicUsize,
    asked: Mutex<Vec<Instant>>,
}

impl Signer {
    fn asked(&self) -> Vec<Instant> {
        self.asked.lock().unwrap().clone()
    }
}

impl Issuer for Signer {
    fn issue<'a>(&'a self, identity: &'a SpiffeId, csr: &'a str) -> Issuing<'a> {
        self.asked.lock().unwrap().push(Instant::now());
        let fail = self
            .failures
            .try_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            })
            .is_ok();
        Box::pin(async move {
            if fail {
                let message = "busy".to_owned();
                return Err(IssueError::Refused {
                    code: tonic::Code::ResourceExhausted,
                    message,
                });
            }
            Ok(self
                .authority
                .sign_for(csr, identity.as_str(), self.validity))
        })
    }
}

fn manager(failures: usize) -> (Arc<Signer>, CertificateManager) {
    signing(Validity::Now, failures)
}

fn signing(validity: Validity, failures: usize) -> (Arc<Signer>, CertificateManager) {
    let signer = Arc::new(Signer {
        authority: Arc::new(Authority::new()),
        validity,
        failures: failures.into(),
        asked: Mutex::default(),
    });
    (
        signer.clone(),
        CertificateManager::new(signer, Arc::new(Metrics::new())),
    )
}

#[tokio::test]
async fn an_identity_is_fetched_once_and_kept_while_it_is_used() {
    let (signer, manager) = manager(0);
    let (one, two) = (
        manager.acquire(&identity("a")),
        manager.acquire(&identity("a")),
    );
    let (first, second) = (
        one.ready(PATIENCE).await.unwrap(),
        two.ready(PATIENCE).await.unwrap(),
    );
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(signer.asked().len(), 1);
    assert_eq!(manager.in_use().len(), 1);
    drop((one, two));
    assert_eq!(manager.in_use().len(), 0);
}

#[tokio::test]
async fn failures_are_retried_and_told() {
    let (signer, manager) = manager(3);
    let slot = manager.acquire(&identity("a"));
    slot.ready(PATIENCE).await.unwrap();
    assert_eq!(signer.asked().len(), 4);

    let (_signer, hopeless) = self::manager(usize::MAX);
    let err = hopeless
        .acquire(&identity("a"))
        .ready(Duration::from_millis(300))
        .await
        .err()
        .unwrap();
    let text = err.to_string();
    assert!(text.contains("sa/a") && text.contains("busy"), "{text}");
}

/// Time stands still but for the renewal's own wait, and is then as much later.
#[tokio::test(start_paused = true)]
async fn r13_a_certificate_is_renewed_at_half_its_life() {
    let hour = Duration::from_secs(3600);
    let (signer, manager) = signing(Validity::For(hour), 0);
    let slot = manager.acquire(&identity("a"));
    let first = slot.ready(PATIENCE).await.unwrap();
    tokio::time::sleep(hour).await;
    let asked = signer.asked();
    let (waited, tenth) = (asked[1] - asked[0], hour / 10);
    assert!(waited > 4 * tenth - tenth / 10, "after {waited:?}");
    assert!(waited <= 6 * tenth, "after {waited:?}");
    let second = slot.current().unwrap();
    assert_ne!(first.validity().serial, second.validity().serial);
}

#[tokio::test]
async fn r06_a_certificate_that_has_ended_is_not_used() {
    let (signer, manager) = signing(Validity::For(Duration::from_secs(2)), 0);
    let slot = manager.acquire(&identity("a"));
    slot.ready(PATIENCE).await.unwrap();
    signer.failures.store(usize::MAX, Ordering::SeqCst);
    eventually("its end", || slot.current().is_none().then_some(())).await;
}

#[tokio::test]
async fn other_roots_make_every_identity_renew() {
    let (signer, manager) = manager(0);
    let slot = manager.acquire(&identity("a"));
    let before = slot.ready(PATIENCE).await.unwrap();
    let bundle = || {
        Bundle::parse(signer.authority.roots_pem().as_bytes())
            .unwrap()
            .set
    };
    assert!(manager.agree_with(&bundle()));
    signer.authority.also_trust(&Authority::new());
    assert!(!manager.agree_with(&bundle()));
    eventually("the renewal", || {
        manager.agree_with(&bundle()).then_some(())
    })
    .await;
    let after = slot.current().unwrap();
    assert_ne!(before.validity().serial, after.validity().serial);
    assert_eq!(after.root_set().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn r08_a_bundle_is_acknowledged_when_all_certificates_have_its_roots() {
    let mut mesh = Mesh::start().await;
    let _a = mesh.pod("a").await;
    let sha256 = |mesh: &Mesh| {
        mesh.proxy.status()["trustBundleSha256"]
            .as_str()
            .map(str::to_owned)
    };
    let before = eventually("the first bundle", || sha256(&mesh)).await;
    // The file is there before the authority tells of the new root.
    let other = Authority::new();
    let both = format!("{}{}", mesh.authority.roots_pem(), other.roots_pem());
    std::fs::write(mesh.folder.0.join("root-cert.pem"), &both).unwrap();
    eventually("the doubt", || sha256(&mesh).is_none().then_some(())).await;
    mesh.authority.also_trust(&other);
    let after = eventually("the new bundle", || sha256(&mesh)).await;
    assert_ne!(before, after);
    assert_eq!(after, Bundle::parse(both.as_bytes()).unwrap().sha256);
}

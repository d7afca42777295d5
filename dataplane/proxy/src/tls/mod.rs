//! TLS as this proxy speaks it: 1.3 only, aws-lc-rs, no resumption.
pub mod bundle;
pub mod control;
pub mod handshakes;
pub mod peer;
pub mod verifier;

use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// HBONE's protocol name.
pub const ALPN_H2: &[u8] = b"h2";

/// The process's cryptography. AES-128-GCM stands first: it is the quickest of
/// the three TLS 1.3 suites where the processor helps, and no weaker in practice.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| {
            Arc::new(CryptoProvider {
                cipher_suites: vec![
                    aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
                    aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
                    aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
                ],
                ..aws_lc_rs::default_provider()
            })
        })
        .clone()
}

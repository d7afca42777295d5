//! Where a CONNECT asks to go.
use std::net::{IpAddr, SocketAddr};

use http::uri::Authority;

/// Why a CONNECT's target is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    #[error("the target {0:?} is not an address and a port")]
    NotAnAddress(String),
    #[error("the target {0} is not this pod")]
    NotThisPod(SocketAddr),
    #[error("port {0} is the proxy's own")]
    OwnPort(u16),
}

/// The target of a CONNECT that arrived for a pod with the addresses `own`.
/// Names are refused: the peer has chosen an address, and what it resolves to here may be another.
///
/// # Errors
/// When the target is not an address and port, is of somebody else, or would lead back into the proxy.
pub fn target(authority: Option<&Authority>, own: &[IpAddr]) -> Result<SocketAddr, AuthorityError> {
    let text = authority.map(Authority::as_str).unwrap_or_default();
    let parsed: SocketAddr = text
        .parse()
        .map_err(|_| AuthorityError::NotAnAddress(text.chars().take(256).collect()))?;
    let address = crate::inpod::original::canonical(parsed);
    if !own.contains(&address.ip()) {
        return Err(AuthorityError::NotThisPod(address));
    }
    if address.port() == 0 {
        return Err(AuthorityError::NotAnAddress(text.to_owned()));
    }
    if tulle_names::is_own_port(address.port()) {
        return Err(AuthorityError::OwnPort(address.port()));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(text: &str) -> Result<SocketAddr, AuthorityError> {
        let own = ["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()];
        let authority = text.parse::<Authority>().ok();
        target(authority.as_ref(), &own)
    }

    #[test]
    fn the_pods_own_addresses_are_targets() {
        assert_eq!(ask("10.0.0.5:80").unwrap().to_string(), "10.0.0.5:80");
        assert_eq!(ask("[fd00::5]:80").unwrap().to_string(), "[fd00::5]:80");
        assert_eq!(
            ask("[::ffff:10.0.0.5]:80").unwrap().to_string(),
            "10.0.0.5:80"
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "10.0.0.5",
            "10.0.0.5:",
            "10.0.0.5:0",
            "10.0.0.5:65536",
            "10.0.0.5:x",
            "web:80",
            "localhost:80",
            "user@10.0.0.5:80",
            "10.0.0.5:80:80",
            "010.0.0.5:80",
            "10.0.0.5:+80",
            "[fd00::5%eth0]:80",
            "http://10.0.0.5:80",
        ] {
            assert!(
                matches!(ask(text), Err(AuthorityError::NotAnAddress(_))),
                "{text}"
            );
        }
        for text in [
            "127.0.0.1:80",
            "10.0.0.6:80",
            "[::1]:80",
            "0.0.0.0:80",
            "169.254.169.254:80",
        ] {
            assert!(
                matches!(ask(text), Err(AuthorityError::NotThisPod(_))),
                "{text}"
            );
        }
        for port in [15001, 15006, 15008] {
            assert_eq!(
                ask(&format!("10.0.0.5:{port}")),
                Err(AuthorityError::OwnPort(port))
            );
        }
    }
}

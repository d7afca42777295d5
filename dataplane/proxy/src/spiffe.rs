//! SPIFFE identities, parsed once and compared exactly (SPIFFE-ID specification, section 2).
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

const SCHEME: &str = "spiffe://";
const MAX_ID_BYTES: usize = 2048;
const MAX_TRUST_DOMAIN_BYTES: usize = 255;

/// Why a string is not a SPIFFE ID or trust domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    #[error("does not begin with spiffe://")]
    Scheme,
    #[error(
        "has an empty trust domain, or one with characters other than a-z, 0-9, dot, dash and underscore"
    )]
    TrustDomain,
    #[error(
        "has an empty or relative path segment, or one with characters other than a-z, A-Z, 0-9, dot, dash and underscore"
    )]
    Path,
}

/// The name of an authority's realm: lower case letters, digits, dot, dash, underscore.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeError;

    fn from_str(value: &str) -> Result<Self, SpiffeError> {
        if value.len() > MAX_TRUST_DOMAIN_BYTES {
            return Err(SpiffeError::TooLong(MAX_TRUST_DOMAIN_BYTES));
        }
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        if value.is_empty() || !value.bytes().all(allowed) {
            return Err(SpiffeError::TrustDomain);
        }
        Ok(Self(value.into()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SPIFFE ID: `spiffe://<trust domain>/<path>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    text: Arc<str>,
    trust_domain: TrustDomain,
}

impl SpiffeId {
    /// The identity of a Kubernetes service account.
    ///
    /// # Errors
    /// When `namespace` or `service_account` cannot stand in a path.
    pub fn service_account(
        trust_domain: &TrustDomain,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, SpiffeError> {
        // A slash in a name would move the segments and so name somebody else.
        segment(namespace)?;
        segment(service_account)?;
        format!("{SCHEME}{trust_domain}/ns/{namespace}/sa/{service_account}").parse()
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The identity as policies write it, without `spiffe://`.
    pub fn principal(&self) -> &str {
        self.text.strip_prefix(SCHEME).unwrap_or(&self.text)
    }

    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Namespace and service account, where the path has the form `/ns/<ns>/sa/<sa>`.
    pub fn kubernetes(&self) -> Option<(&str, &str)> {
        let path = self.principal().strip_prefix(self.trust_domain.as_str())?;
        let mut segments = path.strip_prefix("/ns/")?.split('/');
        match (
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
        ) {
            (Some(namespace), Some("sa"), Some(account), None) => Some((namespace, account)),
            _ => None,
        }
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(value: &str) -> Result<Self, SpiffeError> {
        if value.len() > MAX_ID_BYTES {
            return Err(SpiffeError::TooLong(MAX_ID_BYTES));
        }
        let rest = value.strip_prefix(SCHEME).ok_or(SpiffeError::Scheme)?;
        let (domain, path) = match rest.split_once('/') {
            Some((domain, path)) => (domain, Some(path)),
            None => (rest, None),
        };
        let trust_domain = domain.parse()?;
        if let Some(path) = path {
            path.split('/').try_for_each(segment)?;
        }
        Ok(Self {
            text: value.into(),
            trust_domain,
        })
    }
}

fn segment(value: &str) -> Result<(), SpiffeError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if value.is_empty() || value == "." || value == ".." || !value.bytes().all(allowed) {
        return Err(SpiffeError::Path);
    }
    Ok(())
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_account_has_one_spelling() {
        let domain: TrustDomain = "cluster.local".parse().unwrap();
        let id = SpiffeId::service_account(&domain, "shop", "cart").unwrap();
        assert_eq!(id.as_str(), "spiffe://cluster.local/ns/shop/sa/cart");
        assert_eq!(id.principal(), "cluster.local/ns/shop/sa/cart");
        assert_eq!(id.kubernetes(), Some(("shop", "cart")));
        assert_eq!(id, id.as_str().parse().unwrap());
        assert_eq!(
            SpiffeId::service_account(&domain, "shop/sa/admin", "x"),
            Err(SpiffeError::Path)
        );
    }

    #[test]
    fn r04_valid_ids_pass() {
        for id in [
            "spiffe://example.org",
            "spiffe://example.org/path",
            "spiffe://1.2.3.4/service",
            "spiffe://a_b-c.d/A-Z/0_9/...",
            "spiffe://trustdomain/path/element",
        ] {
            assert!(id.parse::<SpiffeId>().is_ok(), "{id}");
        }
        let longest = format!(
            "spiffe://{}/{}",
            "a".repeat(255),
            "b".repeat(2048 - 9 - 256)
        );
        assert_eq!(longest.len(), 2048);
        assert!(longest.parse::<SpiffeId>().is_ok());
    }

    #[test]
    fn r04_invalid_ids_are_refused() {
        for id in [
            "",
            "spiffe:/",
            "spiffe://",
            "spiffe:///path",
            "SPIFFE://example.org",
            "http://example.org",
            "spiffe://Example.org",
            "spiffe://example.org/",
            "spiffe://example.org//a",
            "spiffe://example.org/a/",
            "spiffe://example.org/.",
            "spiffe://example.org/../a",
            "spiffe://example.org/a/./b",
            "spiffe://example.org/%61",
            "spiffe://ex%61mple.org/a",
            "spiffe://example.org:443/a",
            "spiffe://user@example.org/a",
            "spiffe://example.org/a?b",
            "spiffe://example.org/a#b",
            "spiffe://example.org?b",
            "spiffe://example.org/a b",
            "spiffe://example.org/ü",
            "spiffe://exämple.org/a",
            " spiffe://example.org/a",
            "spiffe://example.org/a\n",
            "spiffe://example.org/a\0",
        ] {
            assert!(id.parse::<SpiffeId>().is_err(), "{id:?}");
        }
        assert!(
            format!("spiffe://{}/a", "a".repeat(256))
                .parse::<SpiffeId>()
                .is_err()
        );
        assert!(
            format!("spiffe://a/{}", "b".repeat(2048 - 10))
                .parse::<SpiffeId>()
                .is_err()
        );
    }

    #[test]
    fn other_shapes_have_no_service_account() {
        for id in [
            "spiffe://a",
            "spiffe://a/ns/b",
            "spiffe://a/ns/b/sa/c/d",
            "spiffe://a/sa/b/ns/c",
            "spiffe://a/x/b/sa/c",
        ] {
            assert_eq!(id.parse::<SpiffeId>().unwrap().kubernetes(), None, "{id}");
        }
    }
}

//! What all resources of the control plane have in common: their addresses, ports, and errors.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a resource is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    #[error("{field} is not an address of 4 or 16 bytes")]
    Address { field: &'static str },
    #[error("{field} is empty")]
    Empty { field: &'static str },
    #[error("{field} is {value}, which this proxy does not know")]
    Unknown { field: &'static str, value: i64 },
    #[error("{message} has a field {field}, which this proxy does not know")]
    UnknownField { message: &'static str, field: u32 },
    #[error("{field}: {value} is out of range")]
    Range { field: &'static str, value: u64 },
    #[error("the identity: {0}")]
    Identity(#[from] crate::spiffe::SpiffeError),
    #[error("cannot be decoded: {0}")]
    Decode(String),
}

/// An address of 4 or 16 bytes; an IPv4 one mapped into IPv6 is taken as IPv4.
pub fn parse_ip(bytes: &[u8], field: &'static str) -> Result<IpAddr, ResourceError> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(Ipv4Addr::from(v4).into());
    }
    let v6: [u8; 16] = bytes
        .try_into()
        .map_err(|_| ResourceError::Address { field })?;
    Ok(IpAddr::from(Ipv6Addr::from(v6)).to_canonical())
}

pub fn parse_port(value: u32, field: &'static str) -> Result<u16, ResourceError> {
    value.try_into().map_err(|_| ResourceError::Range {
        field,
        value: value.into(),
    })
}

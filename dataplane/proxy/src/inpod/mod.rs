//! Sockets in pods' network namespaces.
pub mod netns;
pub mod original;
pub mod socket;

/// The pod's outbound connections arrive here, redirected.
pub const OUTBOUND_PORT: u16 = 15001;
/// Plaintext for the pod arrives here, redirected.
pub const PLAINTEXT_PORT: u16 = 15006;
/// Tunnels for the pod arrive here.
pub const HBONE_PORT: u16 = 15008;

/// Whether a port is the proxy's own in every pod. A connection sent on to one would come back to the proxy.
pub fn is_own_port(port: u16) -> bool {
    matches!(port, OUTBOUND_PORT | PLAINTEXT_PORT | HBONE_PORT)
}

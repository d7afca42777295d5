//! Ports, marks, addresses and names that more than one part of Tulle must spell alike. What TypeScript spells too comes
//! from src/api/names.ts; the rest is of the network namespaces of enrolled pods.
mod generated;
mod pod;

pub use generated::*;
pub use pod::*;

/// Whether pods of `namespace` can be in the mesh at all; the mesh itself must be able to start.
pub fn may_be_enrolled(namespace: &str) -> bool {
    !NEVER_ENROLLED_NAMESPACES.contains(&namespace)
}

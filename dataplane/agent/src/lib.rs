//! tulle-agent: enrols the node's pods.
//!
//! | module | does |
//! |---|---|
//! | `cluster` | what the API server says of this node's pods, namespaces and the Mesh |
//! | `enrol` | one worker a pod brings what is to what should be |
//! | `netns`, `rules`, `sockets` | the pod's network namespace: finding, redirecting, looking at its connections |
//! | `ports` | the proxy's ports in pods, held |
//! | `zds` | hands namespaces to the node's proxies |
//! | `proxy` | asks the node's proxies what they carry |
//! | `cni` | answers the CNI plugin, installs it on the node |
//! | `node_setup` | the plugin, the table and the files on the node, while there is a Mesh |
//! | `cleanup` | the last files on the node, removed after the Mesh is gone |
//! | `mesh_node` | `MeshNode.status` as it stands on the API server |
//! | `report` | what was done, to MeshNode.status |
pub mod agent;
pub mod cleanup;
pub mod cluster;
pub mod cni;
pub mod enrol;
pub mod http;
pub mod jitter;
pub mod mesh_node;
pub mod metrics;
pub mod metrics_access;
pub mod netns;
pub mod node_setup;
pub mod ports;
pub mod proxy;
pub mod report;
pub mod rules;
pub mod settings;
pub mod sockets;
pub mod zds;

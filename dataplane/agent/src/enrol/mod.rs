//! Enrolment: from what should be to what is, one worker a pod.
//!
//! `decision` says which pods should be in the mesh (pure). `machine` says
//! the one next step of a pod (pure). `worker` takes the steps of one pod,
//! one after the other. `enroller` keeps a worker for every pod that is or
//! should be in.
mod adoption;
mod connections;
mod decision;
mod enroller;
mod exempt;
mod existing;
mod failure;
mod look;
mod machine;
mod node;
mod outside;
mod settle;
mod steps;
mod worker;

pub use decision::{Decision, decide};
pub use enroller::{Enroller, Started};
pub use failure::Failure;
pub use machine::{Facts, Rules, Step, Wanted, next};
pub use node::Node;
pub use worker::Progress;

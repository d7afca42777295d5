//! A pod's state machine. A worker knows what is ([`Facts`]) and what should
//! be ([`Wanted`]); [`next`] is the one step between them. Nothing is queued:
//! when the desired changes, the next step is another one, from where things stand.
//!
//! ```text
//!              Find        Hand          Write           Announce
//!    Absent ────────► Found ────► Acked ────────► Ruled ──────────► Captured ─┐ Look (older
//!      ▲                          ▲   (node's set,                     │  ▲   │ connections)
//!      │                          │    then rules)                     │  └───┘
//!      │ Sweep                    │ Hand, when no proxy serves it      │ Withdraw
//!      │ (rules off)              │ any more (rules stay: what the     ▼
//!    LetGo ◄──────── Drained ◄────┼─ pod sends waits, is never      Withdrawn ─┐ Settle (until
//!      (ZDS del, the   LetGo      │  plaintext)                        │  ▲    │ peers are told)
//!       proxy drains)             │                                    │  └────┘
//!                                 │                                    │ Drain (rules let new
//!                                 └──────── wanted again ◄─────────────┘  connections pass)
//! ```
//!
//! In: the proxy acknowledges before there is a rule, and has heard that the pod
//! is being enrolled (Exempt, docs/adr/0015) where it was running before; rules
//! are there before peers are told to tunnel. Out: peers are told first, and everything stays as
//! it is until the node's own proxy has heard it too; then new connections
//! pass, then the proxy is told to let go; what it had drains through the
//! rules that are left, and only then are those removed. A pod that has ended
//! is let go of at once: its namespace takes the rules with it.

/// What should become of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// In the mesh.
    In,
    /// Running on, outside the mesh.
    Out,
    /// It has ended, or its sandbox has.
    Ended,
}

/// The table in the pod's namespace, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    None,
    /// Of an agent before this one, maybe of another version, or of the pod as it was before.
    Unknown,
    Capture,
    Drain,
}

/// What is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its namespace is open here.
    pub found: bool,
    /// The sandbox was made anew: the namespace that is open is not the pod's any more.
    pub moved: bool,
    /// It is among the pods proxies are to hold.
    pub handed: bool,
    /// A connected proxy has acknowledged it.
    pub served: bool,
    /// It has heard that the pod is being enrolled, or is waited for no longer; a pod that starts need not.
    pub exempt: bool,
    pub rules: Rules,
    /// MeshNode says captured, or may say so.
    pub announced: bool,
    /// Peers have been told that it leaves, or are waited for no longer.
    pub settled: bool,
}

impl Facts {
    /// Nothing has been done.
    pub const ABSENT: Self = Self {
        found: false,
        moved: false,
        handed: false,
        served: false,
        exempt: false,
        rules: Rules::None,
        announced: false,
        settled: false,
    };
}

/// One step. Each can be repeated, and each can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Open the pod's network namespace.
    Find,
    /// Hand it to the newest proxy and wait for the acknowledgement.
    Hand,
    /// Wait until the proxy has heard that the pod is being enrolled: what its peers send in
    /// plaintext until they are told is not refused then.
    Exempt,
    /// Put its addresses into the node's set and the capturing rules into its namespace.
    Write,
    /// MeshNode: captured.
    Announce,
    /// Look for connections older than the capture. The steady state.
    Look,
    /// MeshNode: not captured.
    Withdraw,
    /// Wait until control has told peers.
    Settle,
    /// Let new connections pass; those the proxy has keep their way.
    Drain,
    /// Take it back from the proxies.
    LetGo,
    /// Wait until the proxy's connections are gone, then remove the rules.
    Sweep,
    /// Forget the namespace that is not the pod's any more.
    Forget,
    /// Nothing of ours is left.
    Done,
}

/// The next step from `facts` towards `wanted`.
pub fn next(wanted: Wanted, facts: Facts) -> Step {
    match wanted {
        Wanted::In if facts.moved => away(facts, Step::Forget),
        Wanted::In => towards(facts),
        // There may be rules of an agent before this one: they are looked for until they are found.
        Wanted::Out if !facts.found && facts.rules == Rules::Unknown => Step::Find,
        Wanted::Out if !facts.found => away(facts, Step::Done),
        Wanted::Out => out(facts),
        Wanted::Ended => away(facts, Step::Done),
    }
}

fn towards(facts: Facts) -> Step {
    match facts {
        Facts { found: false, .. } => Step::Find,
        Facts { served: false, .. } => Step::Hand,
        Facts {
            exempt: false,
            rules: Rules::None | Rules::Drain,
            ..
        } => Step::Exempt,
        Facts {
            rules: Rules::None | Rules::Unknown | Rules::Drain,
            ..
        } => Step::Write,
        Facts {
            announced: false, ..
        } => Step::Announce,
        _ => Step::Look,
    }
}

fn out(facts: Facts) -> Step {
    match facts {
        Facts {
            announced: true, ..
        } => Step::Withdraw,
        // Who is with no proxy has no tunnels to be waited for.
        Facts {
            rules: Rules::Capture | Rules::Unknown,
            handed: true,
            settled: false,
            ..
        } => Step::Settle,
        Facts {
            rules: Rules::Capture | Rules::Unknown,
            ..
        } => Step::Drain,
        Facts { handed: true, .. } => Step::LetGo,
        Facts {
            rules: Rules::Drain,
            ..
        } => Step::Sweep,
        _ => Step::Done,
    }
}

/// The namespace is gone or going: nothing in it needs to be undone, and no
/// peer reaches it any more, so the proxy need not wait for the announcement.
fn away(facts: Facts, last: Step) -> Step {
    if facts.handed {
        Step::LetGo
    } else if facts.announced {
        Step::Withdraw
    } else {
        last
    }
}

#[cfg(test)]
#[path = "machine_test.rs"]
mod tests;

//! Which of a peer's tunnels takes a newcomer, and whether another is to be dialled.
use std::sync::OnceLock;
use std::thread::available_parallelism;

/// Streams on each tunnel before another is opened beside it, for as many as there are processors:
/// a tunnel's cryptography runs on one.
const SPREAD_AT: usize = 4;
const MAX_SPREAD: usize = 8;
/// Tunnels to a peer beyond which stalled ones get no other beside them.
const MAX_BESIDE_STALLED: usize = 16;

/// How a tunnel is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub in_use: usize,
    /// It takes another stream.
    pub has_room: bool,
    /// A stream of it has long waited for the peer to take more, or for an answer.
    pub stalled: bool,
}

/// What a newcomer does. Tunnels go by their place in the list that was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    Take(usize),
    /// Takes this one; a further tunnel is dialled for those who come later.
    TakeAndDial(usize),
    /// Waits a moment for a further tunnel, and takes this one if none comes.
    RatherDial(usize),
    /// There is none with room.
    Dial,
}

/// Chooses the emptiest of those that get on, or else of those that do not.
pub fn choose(loads: &[Load], spread: usize) -> Choice {
    let best = loads
        .iter()
        .enumerate()
        .filter(|(_, load)| load.has_room)
        .min_by_key(|(_, load)| (load.stalled, load.in_use));
    match best {
        None => Choice::Dial,
        Some((at, load)) if load.stalled && loads.len() < MAX_BESIDE_STALLED => {
            Choice::RatherDial(at)
        }
        Some((at, load)) if load.in_use >= SPREAD_AT && loads.len() < spread => {
            Choice::TakeAndDial(at)
        }
        Some((at, _)) => Choice::Take(at),
    }
}

/// Tunnels to a peer before any is full: one a processor.
pub fn spread() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| {
        available_parallelism()
            .map_or(1, usize::from)
            .min(MAX_SPREAD)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Load = Load {
        in_use: 100,
        has_room: false,
        stalled: false,
    };

    fn used(in_use: usize) -> Load {
        Load {
            in_use,
            has_room: true,
            stalled: false,
        }
    }

    fn stalled(in_use: usize) -> Load {
        Load {
            stalled: true,
            ..used(in_use)
        }
    }

    #[test]
    fn r38_who_finds_room_waits_for_no_dial() {
        for (loads, expected) in [
            (vec![], Choice::Dial),
            (vec![FULL, FULL], Choice::Dial),
            (vec![used(3)], Choice::Take(0)),
            (vec![used(4)], Choice::TakeAndDial(0)),
            (vec![used(99), used(50)], Choice::Take(1)),
            (vec![FULL, used(50)], Choice::Take(1)),
        ] {
            assert_eq!(choose(&loads, 2), expected, "{loads:?}");
        }
    }

    #[test]
    fn r38_a_stalled_tunnel_is_the_last_choice() {
        for (loads, expected) in [
            (vec![stalled(1)], Choice::RatherDial(0)),
            (vec![stalled(1), used(50)], Choice::Take(1)),
            (vec![stalled(2), stalled(1), FULL], Choice::RatherDial(1)),
            (vec![stalled(1); MAX_BESIDE_STALLED], Choice::Take(0)),
        ] {
            assert_eq!(choose(&loads, 2), expected, "{loads:?}");
        }
    }
}

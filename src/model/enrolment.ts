import { isOlder } from '../kube/resource-version.ts';

/** What is known of a pod that is a member of the mesh by its labels. */
export interface Member {
  readonly uid: string;
  readonly node: string;
  /** Its node says that it captured it. */
  readonly captured: boolean;
  /** Peers were told to reach it in plaintext: it was there before it was captured. */
  readonly announced: boolean;
}

interface Waiting {
  readonly node: string;
  /** The commit it waits since. */
  readonly commit: number;
}

interface Telling {
  /** The resourceVersion of the MeshNode that said that the pod is captured. */
  readonly version: string;
  /** The commit it was captured in. */
  readonly commit: number;
  /** ms. */
  readonly until: number;
}

/** For so long after its capture a pod takes plaintext from members at most, ms. */
export const tellingLimitMs = 30_000;

const nobody: ReadonlySet<string> = new Set();

/**
 * Which pods are being enrolled (docs/adr/0015). Only those are kept here:
 *
 *   OUTSIDE ── member by its labels ──► WAITING ── captured ──► TELLING ── peers are told, or the limit ──► ENROLLED
 *      ▲                                  │                        │                                           │
 *      └────────── no member any more, or gone ────────────────────┴───────────────────────────────────────────┘
 */
export class Enrolment {
  readonly #waiting = new Map<string, Waiting>();
  readonly #telling = new Map<string, Telling>();
  readonly #failed = new Map<string, ReadonlySet<string>>();
  #commit = 0;

  /** What comes from now on is of one instant. */
  beginCommit(): void {
    this.#commit += 1;
  }

  /** The UIDs of the pods that a node could not enrol. */
  setFailed(node: string, uids: ReadonlySet<string>): void {
    if (uids.size === 0) this.#failed.delete(node);
    else this.#failed.set(node, uids);
  }

  /**
   * Takes in how a member stands; returns whether it is being enrolled.
   * @param version of the MeshNodes that `captured` is of
   * @param now ms
   */
  update({ uid, node, captured, announced }: Member, version: string, now: number): boolean {
    if (!captured) {
      this.#telling.delete(uid);
      if (!this.#waiting.has(uid)) this.#waiting.set(uid, { node, commit: this.#commit });
      return true;
    }
    const waited = this.#waiting.delete(uid);
    if ((waited || announced) && !this.#telling.has(uid)) {
      this.#telling.set(uid, { version, commit: this.#commit, until: now + tellingLimitMs });
    }
    return this.#telling.has(uid);
  }

  /** It is no member, or gone. */
  forget(uid: string): void {
    this.#waiting.delete(uid);
    this.#telling.delete(uid);
  }

  /**
   * Takes in that all peers have been told of what MeshNodes said up to `version` (undefined: of nothing). Returns the UIDs of the pods that
   * are enrolled by that: nobody who was WAITING before their capture still is, or their time is over.
   */
  settle(version: string | undefined, now: number): readonly string[] {
    const first = this.#firstWaiting();
    const settled = [...this.#telling].filter(([, telling]) => {
      const isTold = version !== undefined && !isOlder(version, telling.version) && telling.commit < first;
      return isTold || telling.until <= now;
    });
    for (const [uid] of settled) this.#telling.delete(uid);
    return settled.map(([uid]) => uid);
  }

  /** The versions of which peers are to be told. */
  get awaited(): readonly string[] {
    return [...this.#telling.values()].map(({ version }) => version);
  }

  /** When the first one's time is over, ms; Infinity when there is none. */
  get deadline(): number {
    return Math.min(...[...this.#telling.values()].map(({ until }) => until));
  }

  /** Since when the first of the pods waits that wait to be captured, and can be. */
  #firstWaiting(): number {
    for (const [uid, { node, commit }] of this.#waiting) {
      if (!(this.#failed.get(node) ?? nobody).has(uid)) return commit;
    }
    return Number.POSITIVE_INFINITY;
  }
}

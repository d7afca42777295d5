import { isOlder } from '../kube/client/resource-version.ts';

/** What is known of a pod. */
export interface PodEnrolment {
  readonly uid: string;
  readonly node: string;
  /** By its labels. */
  readonly isMember: boolean;
  /** Its node says that it captured it. */
  readonly captured: boolean;
  /** Peers were told to reach it in plaintext: it was there before it was captured. */
  readonly announced: boolean;
}

interface Waiting {
  readonly node: string;
  /** The commit it waits since, and the time, ms. */
  readonly commit: number;
  readonly since: number;
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

/** On the way into the mesh, or out of it. */
export type Transition = 'Entering' | 'Leaving';

/**
 * Which pods are on their way into the mesh or out of it (docs/adr/0015). Only those are kept here:
 *
 *   OUTSIDE ── member by its labels ──► WAITING ── captured ──► TELLING ── peers are told, or the limit ──► ENROLLED
 *      ▲                                  │  ▲                     │                                           │
 *      ├────── no member any more ────────┘  └── member again ─┐   │ no member any more                        │
 *      └────── gone ──────────────────────────────────────── LEAVING ◄─────────────────────────────────────────┘
 */
export class Enrolment {
  readonly #waiting = new Map<string, Waiting>();
  readonly #telling = new Map<string, Telling>();
  readonly #leaving = new Set<string>();
  readonly #members = new Set<string>();
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
   * Takes in how a pod stands.
   * @param version of the MeshNodes that `captured` is of
   * @param now ms
   */
  update(
    { uid, node, isMember, captured, announced }: PodEnrolment,
    version: string,
    now: number,
  ): Transition | undefined {
    if (!isMember) {
      this.#waiting.delete(uid);
      this.#telling.delete(uid);
      // Only who was a member here: labels may be known later than the word of a node.
      if (this.#members.delete(uid) && captured) this.#leaving.add(uid);
      return this.#leaving.has(uid) ? 'Leaving' : undefined;
    }
    this.#leaving.delete(uid);
    this.#members.add(uid);
    if (!captured) {
      this.#telling.delete(uid);
      if (!this.#waiting.has(uid)) this.#waiting.set(uid, { node, commit: this.#commit, since: now });
      return 'Entering';
    }
    const waited = this.#waiting.delete(uid);
    if ((waited || announced) && !this.#telling.has(uid)) {
      this.#telling.set(uid, { version, commit: this.#commit, until: now + tellingLimitMs });
    }
    return this.#telling.has(uid) ? 'Entering' : undefined;
  }

  /** It is gone. */
  forget(uid: string): void {
    this.#waiting.delete(uid);
    this.#telling.delete(uid);
    this.#leaving.delete(uid);
    this.#members.delete(uid);
  }

  /**
   * Takes in that all peers have been told of what MeshNodes said up to `version` (undefined: of nothing). Returns the UIDs of the pods that
   * are enrolled by that: nobody who was WAITING before their capture still is, or their time is over.
   */
  settle(version: string | undefined, now: number): readonly string[] {
    const first = this.#firstWaiting(now);
    const settled = [...this.#telling].filter(([, telling]) => {
      const isTold = version !== undefined && !isOlder(version, telling.version) && telling.commit < first;
      return isTold || telling.until <= now;
    });
    for (const [uid] of settled) this.#telling.delete(uid);
    return settled.map(([uid]) => uid);
  }

  /** The versions of which peers are to be told. */
  get awaited(): ReadonlySet<string> {
    return new Set(this.#telling.values().map(({ version }) => version));
  }

  /** When the first one's time is over, ms; Infinity when there is none. All have as much, so it is that of the oldest. */
  get deadline(): number {
    const [oldest] = this.#telling.values();
    return oldest?.until ?? Number.POSITIVE_INFINITY;
  }

  /** Since which commit the first of the pods waits that can be captured, and have not waited for too long. */
  #firstWaiting(now: number): number {
    for (const [uid, { node, commit, since }] of this.#waiting) {
      if (now - since < tellingLimitMs && !(this.#failed.get(node) ?? nobody).has(uid)) return commit;
    }
    return Number.POSITIVE_INFINITY;
  }
}

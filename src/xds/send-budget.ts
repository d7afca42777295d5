import { unreadBytes } from './metrics.ts';

/** How much may be on its way to clients, bytes. Times in ms. */
export interface SendLimits {
  /** Responses of up to so many bytes are small: they have room of their own, and do not wait behind larger ones. */
  readonly small: number;
  /** Of all small ones together, and of all larger ones. */
  readonly allSmall: number;
  readonly allLarge: number;
  /** Of one client, beyond its first response. */
  readonly each: number;
  /** A response of which less than `paceBytes` leave in `stallMs` is given up as soon as another one waits for its room. */
  readonly stallMs: number;
  readonly paceBytes: number;
}

export const defaultSendLimits: SendLimits = {
  small: 256 * 1024,
  allSmall: 64 * 1024 * 1024,
  allLarge: 192 * 1024 * 1024,
  each: 4 * 1024 * 1024,
  stallMs: 10_000,
  paceBytes: 1024 * 1024,
};

/** One response. */
export interface Send {
  /** Whose it is: all responses with the same client count together. */
  readonly client: string;
  readonly bytes: number;
  /** It may leave now. */
  begin(): void;
  /** Its client does not read, and others wait: whoever hears this ends it, and says when its memory is free. */
  stalled(): void;
}

/** Room that responses of about one size share. */
interface Lane {
  readonly limit: number;
  /** In the order they came. */
  readonly waiting: Set<Send>;
  readonly sending: Map<Send, Progress>;
  /** Whoever sends these has been told to end. */
  readonly givenUp: Set<Send>;
  held: number;
}

interface Progress {
  /** Runs until it is late. */
  readonly timer: NodeJS.Timeout;
  /** That have left since it was started, bytes. */
  left: number;
  /** Whether it has not kept its pace. */
  readonly isLate: boolean;
}

/**
 * Caps the memory of responses that clients have not read yet, over all streams. When all proxies of a large mesh reconnect
 * together they are served one after another, first come first served, instead of all being buffered; those that do not read make
 * room for the others. Who waits for another response of its own client keeps nobody else waiting.
 *
 *   WAITING ── it is the first, and there is room ──► SENDING ── left, or dropped ──► over
 *      └── its stream ends ──► over                     │  ▲ paceBytes within stallMs
 *                                                       ▼  │
 *                                                      LATE ── others wait ──► stalled() ── dropped ──► over
 */
export class SendBudget {
  readonly #limits: SendLimits;
  readonly #small: Lane;
  readonly #large: Lane;
  readonly #held = new Map<string, number>();

  constructor(limits: SendLimits = defaultSendLimits) {
    this.#limits = limits;
    this.#small = laneOf(limits.allSmall);
    this.#large = laneOf(limits.allLarge);
  }

  /** Bytes on their way. */
  get held(): number {
    return this.#small.held + this.#large.held;
  }

  /** Begins it at once or later. */
  enter(send: Send): void {
    const lane = this.#laneFor(send);
    lane.waiting.add(send);
    this.#beginNext(lane);
    if (lane.waiting.has(send)) giveUpLate(lane);
  }

  /** So many bytes more of it have left. */
  progressed(send: Send, bytes: number): void {
    const lane = this.#laneFor(send);
    const progress = lane.sending.get(send);
    if (progress === undefined) return;
    progress.left += bytes;
    if (progress.left < this.#limits.paceBytes) return;
    clearTimeout(progress.timer);
    lane.sending.set(send, this.#inTime(lane, send));
  }

  /** It has left, was dropped, or waits no longer; again does nothing. */
  leave(send: Send): void {
    const lane = this.#laneFor(send);
    const progress = lane.sending.get(send);
    if (progress !== undefined) {
      clearTimeout(progress.timer);
      lane.sending.delete(send);
      lane.givenUp.delete(send);
      this.#count(lane, send.client, -send.bytes);
    } else if (!lane.waiting.delete(send)) return;
    this.#beginNext(this.#small);
    this.#beginNext(this.#large);
  }

  #laneFor({ bytes }: Send): Lane {
    return bytes <= this.#limits.small ? this.#small : this.#large;
  }

  #beginNext(lane: Lane): void {
    const ownTurn = new Set<string>();
    for (const send of [...lane.waiting]) {
      if (ownTurn.has(send.client) || !this.#fitsClient(send)) {
        ownTurn.add(send.client);
        continue;
      }
      // One response may be larger than the whole room.
      if (lane.held > 0 && lane.held + send.bytes > lane.limit) return;
      if (lane.waiting.delete(send)) this.#begin(lane, send);
    }
  }

  #fitsClient({ client, bytes }: Send): boolean {
    const held = this.#held.get(client) ?? 0;
    return held === 0 || held + bytes <= this.#limits.each;
  }

  #begin(lane: Lane, send: Send): void {
    lane.sending.set(send, this.#inTime(lane, send));
    this.#count(lane, send.client, send.bytes);
    send.begin();
  }

  #inTime(lane: Lane, send: Send): Progress {
    const late = () => {
      lane.sending.set(send, { timer, left: 0, isLate: true });
      giveUpLate(lane);
    };
    const timer = setTimeout(late, this.#limits.stallMs).unref();
    return { timer, left: 0, isLate: false };
  }

  #count(lane: Lane, client: string, bytes: number): void {
    const held = (this.#held.get(client) ?? 0) + bytes;
    if (held === 0) this.#held.delete(client);
    else this.#held.set(client, held);
    lane.held += bytes;
    unreadBytes.set(this.held);
  }
}

function laneOf(limit: number): Lane {
  return { limit, waiting: new Set(), sending: new Map(), givenUp: new Set(), held: 0 };
}

function giveUpLate({ waiting, sending, givenUp }: Lane): void {
  if (waiting.size === 0) return;
  for (const [send, { isLate }] of [...sending]) {
    if (!isLate || givenUp.has(send)) continue;
    givenUp.add(send);
    send.stalled();
  }
}

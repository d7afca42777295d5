/** One direction of a TCP connection, put together again from its segments. */

export interface Segment {
  /** Microseconds since 1970. */
  readonly at: number;
  /** As on the wire, modulo 2^32. */
  readonly sequence: number;
  readonly payload: Buffer;
}

/** Bytes that follow each other without a gap. */
export interface Run {
  /** True when the run begins with the first byte of the connection. */
  readonly fromStart: boolean;
  readonly bytes: Buffer;
  /** Offset in `bytes` at which each segment's contribution begins, ascending, and when it was seen. */
  readonly arrivals: readonly { readonly offset: number; readonly at: number }[];
}

export interface Stream {
  readonly runs: readonly Run[];
  /** Segments that claim a place in the stream where other bytes were seen: no honest sender does that. */
  readonly contradictions: readonly Segment[];
}

/**
 * Orders segments, drops what was sent twice and splits at gaps. `initialSequence` is that of the SYN where it was
 * captured; without it the stream begins somewhere in the middle.
 */
export function reassemble(segments: readonly Segment[], initialSequence: number | undefined): Stream {
  const placed = place(segments, initialSequence);
  const start = initialSequence === undefined ? undefined : 1; // the SYN itself takes the first number
  const runs: RunBuilder[] = [];
  const contradictions: Segment[] = [];
  for (const { segment, position } of placed) {
    let current = runs.at(-1);
    if (current === undefined || position > current.end) {
      current = new RunBuilder(position, position === start);
      runs.push(current);
    }
    if (!current.accept(position, segment)) contradictions.push(segment);
  }
  return { runs: runs.map((run) => run.finish()), contradictions };
}

interface Placed {
  readonly segment: Segment;
  /** Distance from the reference sequence number; does not wrap. */
  readonly position: number;
}

/** Unwraps sequence numbers: each is taken to be within 2 GiB of the highest before it. */
function place(segments: readonly Segment[], initialSequence: number | undefined): Placed[] {
  const reference = initialSequence ?? segments[0]?.sequence ?? 0;
  let highest = 0;
  const placed = segments.map((segment) => {
    const distance = (segment.sequence - (reference + highest)) | 0;
    const position = highest + distance;
    highest = Math.max(highest, position);
    return { segment, position };
  });
  return placed.filter(({ segment }) => segment.payload.length > 0).sort((a, b) => a.position - b.position);
}

class RunBuilder {
  readonly #begin: number;
  readonly #fromStart: boolean;
  readonly #pieces: Buffer[] = [];
  readonly #arrivals: { offset: number; at: number }[] = [];
  #length = 0;

  constructor(begin: number, fromStart: boolean) {
    this.#begin = begin;
    this.#fromStart = fromStart;
  }

  get end(): number {
    return this.#begin + this.#length;
  }

  /** Adds what is new in the segment; false when what it repeats is not what was seen before. */
  accept(position: number, segment: Segment): boolean {
    const repeated = Math.min(this.end - position, segment.payload.length);
    const agrees = segment.payload.subarray(0, repeated).equals(this.#slice(position, repeated));
    const fresh = segment.payload.subarray(repeated);
    if (fresh.length > 0) {
      this.#arrivals.push({ offset: this.#length, at: segment.at });
      this.#pieces.push(fresh);
      this.#length += fresh.length;
    }
    return agrees;
  }

  finish(): Run {
    return { fromStart: this.#fromStart, bytes: Buffer.concat(this.#pieces), arrivals: this.#arrivals };
  }

  #slice(position: number, length: number): Buffer {
    if (length === 0) return Buffer.alloc(0);
    // Retransmissions reach back a little: the pieces that matter are the last ones.
    const pieces: Buffer[] = [];
    let begin = this.end;
    for (let index = this.#pieces.length - 1; index >= 0 && begin > position; index -= 1) {
      const piece = this.#pieces[index] ?? Buffer.alloc(0);
      pieces.unshift(piece);
      begin -= piece.length;
    }
    return Buffer.concat(pieces).subarray(position - begin, position - begin + length);
  }
}

/** When the byte at `offset` of a run was seen; microseconds since 1970. */
export function arrivalAt(run: Run, offset: number): number {
  let low = 0;
  let high = run.arrivals.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((run.arrivals[middle]?.offset ?? 0) <= offset) low = middle;
    else high = middle - 1;
  }
  return run.arrivals[low]?.at ?? 0;
}

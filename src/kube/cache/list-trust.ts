import { isOlder } from '../client/resource-version.ts';

/** What is known when a complete list comes back. Versions are resourceVersions. */
export interface ListEvidence {
  /** The newest resourceVersion seen so far; undefined before the first list. */
  lastVersion: string | undefined;
  /** Objects held now. */
  held: number;
  listVersion: string;
  listed: number;
  /** Since when lists have been doubted, ms of the same clock as `now`; undefined when the last one was trusted. */
  doubtedSince: number | undefined;
  now: number;
  /**
   * An empty answer over a full store must still be the answer after so long, ms. Infinity: a list that is never empty
   * in truth, not even the first one.
   */
  emptyMustLastMs: number;
}

/** Whether a list is acted on. */
export type ListReview = { trusted: true } | { trusted: false; reason: string };

/** A store that went back in time (restored from a backup, as far as anyone can tell) is followed after so long, ms. */
const PAST_MUST_LAST_MS = 600_000;

/**
 * Whether to act on a complete list. Acting on a list means deleting what is not in it, so a list that says less than
 * we know must last: an API server that comes back may answer from an empty or an old copy of its data at first.
 * ResourceVersions grow with time and compare as numbers (KEP-5504).
 */
export function reviewList(evidence: ListEvidence): ListReview {
  const { lastVersion, listVersion, doubtedSince, now, emptyMustLastMs } = evidence;
  const lastedMs = doubtedSince === undefined ? 0 : now - doubtedSince;
  if (isOlder(listVersion, lastVersion) && lastedMs < PAST_MUST_LAST_MS) {
    return { trusted: false, reason: `the list is of version ${listVersion}, older than ${lastVersion} seen before` };
  }
  const surprising = evidence.held > 0 || emptyMustLastMs === Number.POSITIVE_INFINITY;
  if (evidence.listed === 0 && surprising && lastedMs < emptyMustLastMs) {
    return { trusted: false, reason: `the list is empty, ${evidence.held} objects were known before` };
  }
  return { trusted: true };
}

import { createHash } from 'node:crypto';
import { tokenAudiences, tokenExtra } from '../../api/names.ts';
import { explain, TulleError } from '../../errors/tulle-error.ts';
import type { Clock } from '../../kube/clock.ts';
import { ExpiringCache } from '../../kube/expiring-cache.ts';
import { FairQueue, type QueueLimits } from '../../limits/fair-queue.ts';
import { claimsOf } from './token-claims.ts';
import type { Signature, TokenKeys } from './token-keys.ts';
import type { TokenReviewer, TokenReviewStatus } from './token-reviewer.ts';

/** Who calls, as its token says. That its pod still exists is not known from this: ask for it with every decision. */
export interface Caller {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly pod: { readonly name: string; readonly uid: string };
  /** The node the token was issued for; API servers before 1.32 do not say. */
  readonly node: string | undefined;
}

/** What a call brings along. */
export interface Credentials {
  /** Of the header, undefined where there is none. */
  readonly authorization: string | undefined;
  /** Where the call came from. */
  readonly address: string;
}

/** Finds out who calls. */
export interface CallerVerifier {
  /** @throws TulleError CallerUnauthenticated, CallerReviewUnavailable, CallerReviewsOverloaded */
  verify(credentials: Credentials): Promise<Caller>;
}

export interface CallerVerifierOptions {
  readonly reviewer: TokenReviewer;
  readonly keys: Pick<TokenKeys, 'check'>;
  readonly clock: Pick<Clock, 'now'>;
  readonly limits?: ReviewLimits;
}

/**
 * How long an answer is used again, ms. A token of a deleted pod would be good for that long, so no decision rests on the token
 * alone: the pod it is bound to is looked up every time.
 */
const cacheMs = 60_000;
/** One proxy a node and one token a waypoint: more callers than this in a minute are not in a mesh we know. */
const cacheSize = 4096;
/** A service account token is about 1,000 characters. */
const maximumTokenLength = 8192;

/** Reviews at once, and how many may wait: of tokens that the API server signed, and of those of which that cannot be told. */
export type ReviewLimits = Readonly<Record<Exclude<Signature, 'bad'>, QueueLimits>>;

/** So many reviews an API server answers at once without effort; who waits holds a token of 8 kB at most. */
const defaultLimits: ReviewLimits = {
  good: { running: 32, waiting: 1_024, waitingEach: 256 },
  unknown: { running: 8, waiting: 512, waitingEach: 16 },
};
/** Our clock and the API server's may be so far apart, ms: a token is not called expired before. */
const clockSkewMs = 60_000;

const audiences: readonly string[] = Object.values(tokenAudiences);

/**
 * Verifies callers by TokenReview, and before that by what costs the API server nothing: whoever reaches the port could have it
 * asked without end otherwise. Addresses take turns.
 *
 *   header ─► for us, by its own words? ─► signed by the API server? ─┬─ good ────► TokenReview (revoked? bound pod gone?) ─► Caller
 *                                                                     ├─ unknown ─► TokenReview, few at a time
 *                                                                     └─ bad ─────► refused
 *
 * Good answers are kept for a short while by the token's hash, never past the token's own expiry; calls with the same token at the
 * same time share one review. Bad answers are not kept.
 */
export function createCallerVerifier({
  reviewer,
  keys,
  clock,
  limits = defaultLimits,
}: CallerVerifierOptions): CallerVerifier {
  const known = new ExpiringCache<Caller>(cacheSize, clock);
  const underway = new Map<string, Promise<Caller>>();
  const reviews = {
    good: new FairQueue(limits.good, reviewsOverloaded),
    unknown: new FairQueue(limits.unknown, reviewsOverloaded),
  };

  async function review(token: string, hash: string, address: string): Promise<Caller> {
    const expiresAt = plausibleUntil(token, clock.now());
    const signature = await keys.check(token);
    if (signature === 'bad') throw unauthenticated('its token is not signed by a key of the API server');
    const caller = callerOf(await reviews[signature].run(address, () => ask(reviewer, token)));
    known.set(hash, caller, Math.min(clock.now() + cacheMs, expiresAt));
    return caller;
  }

  return {
    async verify({ authorization, address }) {
      const token = bearerToken(authorization);
      const hash = createHash('sha256').update(token).digest('base64');
      const caller = known.get(hash) ?? underway.get(hash);
      if (caller !== undefined) return caller;
      const reviewing = review(token, hash, address).finally(() => underway.delete(hash));
      underway.set(hash, reviewing);
      return reviewing;
    },
  };
}

function bearerToken(authorization: string | undefined): string {
  if (authorization === undefined) throw unauthenticated('the call has no authorization header');
  const token = /^Bearer ([A-Za-z0-9._~+/=-]+)$/i.exec(authorization)?.[1];
  if (token === undefined || token.length > maximumTokenLength) {
    throw unauthenticated('its authorization header is not a bearer token');
  }
  return token;
}

/** The cause of a failed review may quote the request, which holds the token: only its message is kept. */
async function ask(reviewer: TokenReviewer, token: string): Promise<TokenReviewStatus> {
  try {
    return await reviewer.review(token, audiences);
  } catch (error) {
    const why = explain(error).replaceAll(token, '[token]');
    throw new TulleError('CallerReviewUnavailable', `The caller's token cannot be reviewed now: ${why}`);
  }
}

function callerOf(status: TokenReviewStatus): Caller {
  if (status.authenticated !== true) throw unauthenticated('its token is not valid, has expired, or its pod is gone');
  // An API server that does not know audiences leaves them out and has checked nothing.
  if (!status.audiences?.some((audience) => audiences.includes(audience))) {
    throw unauthenticated(`its token is not for the audience ${audiences.join(' or ')}`);
  }
  const [system, kind, namespace, serviceAccount, ...rest] = status.user?.username?.split(':') ?? [];
  if (system !== 'system' || kind !== 'serviceaccount' || !namespace || !serviceAccount || rest.length > 0) {
    throw unauthenticated('its token is not that of a service account');
  }
  const name = extra(status, tokenExtra.podName);
  const uid = extra(status, tokenExtra.podUid);
  if (name === undefined || uid === undefined) throw unauthenticated('its token is not bound to a pod');
  return { namespace, serviceAccount, pod: { name, uid }, node: extra(status, tokenExtra.nodeName) };
}

/** The one value of a key; several would leave open which one was meant. */
function extra(status: TokenReviewStatus, key: string): string | undefined {
  const [value, ...more] = status.user?.extra?.[key] ?? [];
  return more.length === 0 && value !== '' ? value : undefined;
}

/**
 * Until when a token is good by its own words, ms. Its signature is not looked at: this is for what cannot be good, cheaply.
 * @throws TulleError CallerUnauthenticated
 */
function plausibleUntil(token: string, now: number): number {
  const claims = claimsOf(token);
  if (claims === undefined) throw unauthenticated('its token is not a JWT with an audience and an expiry');
  if (!claims.audiences.some((audience) => audiences.includes(audience))) {
    throw unauthenticated(`its token is not for the audience ${audiences.join(' or ')}`);
  }
  if (claims.expiresAt + clockSkewMs <= now) throw unauthenticated('its token has expired');
  return claims.expiresAt;
}

function reviewsOverloaded(): TulleError {
  return new TulleError('CallerReviewsOverloaded', 'This replica has as many callers to check as it takes on.', {
    fix: 'Try again later, with jitter.',
  });
}

function unauthenticated(why: string): TulleError {
  return new TulleError('CallerUnauthenticated', `The caller did not prove who it is: ${why}.`, {
    fix: 'Call with a projected service account token of audience tulle-ca that is bound to a pod.',
  });
}

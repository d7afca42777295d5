import { createHash } from 'node:crypto';
import { tokenAudiences, tokenExtra } from '../api/names.ts';
import { explain, TulleError } from '../errors/tulle-error.ts';
import type { Clock } from '../kube/clock.ts';
import { ExpiringCache } from './expiring-cache.ts';
import { type IssuanceLimits, IssuanceQueue } from './issuance-queue.ts';
import { claimsOf } from './token-claims.ts';
import type { TokenReviewer, TokenReviewStatus } from './token-reviewer.ts';

/** Who calls, as its token says. That its pod still exists is not known from this: ask for it with every decision. */
export interface Caller {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly pod: { readonly name: string; readonly uid: string };
  /** The node the token was issued for; API servers before 1.32 do not say. */
  readonly node: string | undefined;
}

/** Finds out who calls from the `authorization` header of a call. */
export interface CallerVerifier {
  /** @throws TulleError CallerUnauthenticated, CallerReviewUnavailable, CallerReviewsOverloaded */
  verify(authorization: string | undefined): Promise<Caller>;
}

export interface CallerVerifierOptions {
  readonly reviewer: TokenReviewer;
  readonly clock: Pick<Clock, 'now'>;
  /** Reviews at once, and how many may wait. */
  readonly limits?: IssuanceLimits;
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

/** So many reviews an API server answers at once without effort; who waits holds a token of 8 kB at most. */
const defaultLimits: IssuanceLimits = { running: 32, waiting: 1_024 };
/** Our clock and the API server's may be so far apart, ms: a token is not called expired before. */
const clockSkewMs = 60_000;

const audiences: readonly string[] = Object.values(tokenAudiences);

/**
 * Verifies callers by TokenReview. Only what may be a token for us, by what it says of itself, is reviewed, and only so many
 * at once: whoever reaches the port could have the API server asked without end otherwise. Good answers are kept for a short while by the token's hash, never past the token's own expiry;
 * calls with the same token at the same time share one review. Bad answers are not kept.
 */
export function createCallerVerifier({
  reviewer,
  clock,
  limits = defaultLimits,
}: CallerVerifierOptions): CallerVerifier {
  const known = new ExpiringCache<Caller>(cacheSize, clock);
  const underway = new Map<string, Promise<Caller>>();
  const reviews = new IssuanceQueue(limits, reviewsOverloaded);

  async function review(token: string, hash: string): Promise<Caller> {
    const expiresAt = plausibleUntil(token, clock.now());
    const caller = callerOf(await reviews.run(() => ask(reviewer, token)));
    known.set(hash, caller, Math.min(clock.now() + cacheMs, expiresAt));
    return caller;
  }

  return {
    async verify(authorization) {
      const token = bearerToken(authorization);
      const hash = createHash('sha256').update(token).digest('base64');
      const caller = known.get(hash) ?? underway.get(hash);
      if (caller !== undefined) return caller;
      const reviewing = review(token, hash).finally(() => underway.delete(hash));
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
    mend: 'Try again later, with jitter.',
  });
}

function unauthenticated(why: string): TulleError {
  return new TulleError('CallerUnauthenticated', `The caller did not prove who it is: ${why}.`, {
    mend: 'Call with a projected service account token of audience tulle-ca that is bound to a pod.',
  });
}

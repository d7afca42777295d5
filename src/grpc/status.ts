import type { ErrorCode } from '../errors/codes.ts';
import { explain, isTulleError } from '../errors/tulle-error.ts';

/** The status codes of gRPC that this server answers with. */
export const statusCodes = {
  OK: 0,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
} as const;

export type StatusCode = keyof typeof statusCodes;

/** How a call fails, in words its caller may read. */
export class StatusError extends Error {
  override readonly name = 'StatusError';
  readonly code: StatusCode;
  /** How long the caller should wait before it tries again, ms: gRPC's own hint (gRFC A6). */
  readonly retryPushbackMs: number | undefined;

  constructor(code: StatusCode, message: string, retryPushbackMs?: number) {
    super(message);
    this.code = code;
    this.retryPushbackMs = retryPushbackMs;
  }
}

const codes: Partial<Record<ErrorCode, StatusCode>> = {
  CallerUnauthenticated: 'UNAUTHENTICATED',
  CallerNotPermitted: 'PERMISSION_DENIED',
  CallerReviewUnavailable: 'UNAVAILABLE',
  CallerReviewsOverloaded: 'RESOURCE_EXHAUSTED',
  CallsTooMany: 'RESOURCE_EXHAUSTED',
  CsrInvalid: 'INVALID_ARGUMENT',
  SpiffeIdInvalid: 'INVALID_ARGUMENT',
  AuthorityNotLoaded: 'UNAVAILABLE',
  AuthorityWithheld: 'UNAVAILABLE',
  AuthorityExpired: 'UNAVAILABLE',
  IssuanceOverloaded: 'RESOURCE_EXHAUSTED',
  XdsNotReady: 'UNAVAILABLE',
  XdsRequestInvalid: 'INVALID_ARGUMENT',
  XdsSubscriptionTooLarge: 'RESOURCE_EXHAUSTED',
  XdsRequestsTooMany: 'RESOURCE_EXHAUSTED',
  XdsPolicyNotAsked: 'FAILED_PRECONDITION',
  XdsClientSilent: 'DEADLINE_EXCEEDED',
};

/** How long a caller that is sent away should wait, ms: this much, and up to as much again four times. */
const pushbackMs = 1000;

/**
 * An error as callers are told of it. What is not ours is not told to them: its text may name what they should not know.
 * One that says that there is too much to do has a hint when to come back, spread by `random`, which is uniform in [0, 1), so
 * that those who were sent away do not come back together.
 */
export function toStatus(error: unknown, random: () => number = Math.random): StatusError {
  if (error instanceof StatusError) return error;
  const code = isTulleError(error) ? codes[error.code] : undefined;
  if (code === undefined) return new StatusError('INTERNAL', 'internal error');
  const hint = code === 'RESOURCE_EXHAUSTED' ? Math.round(pushbackMs * (1 + 4 * random())) : undefined;
  return new StatusError(code, explain(error), hint);
}

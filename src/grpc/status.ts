import { Code, ConnectError } from '@connectrpc/connect';
import type { ErrorCode } from '../errors/codes.ts';
import { explain, isTulleError } from '../errors/tulle-error.ts';

const codes: Partial<Record<ErrorCode, Code>> = {
  CallerUnauthenticated: Code.Unauthenticated,
  CallerNotPermitted: Code.PermissionDenied,
  CallerReviewUnavailable: Code.Unavailable,
  CallerReviewsOverloaded: Code.ResourceExhausted,
  CsrInvalid: Code.InvalidArgument,
  SpiffeIdInvalid: Code.InvalidArgument,
  AuthorityNotLoaded: Code.Unavailable,
  AuthorityWithheld: Code.Unavailable,
  AuthorityExpired: Code.Unavailable,
  IssuanceOverloaded: Code.ResourceExhausted,
  XdsNotReady: Code.Unavailable,
  XdsRequestInvalid: Code.InvalidArgument,
  XdsSubscriptionTooLarge: Code.ResourceExhausted,
  XdsRequestsTooMany: Code.ResourceExhausted,
  XdsPolicyNotAsked: Code.FailedPrecondition,
  XdsClientSilent: Code.DeadlineExceeded,
};

/** How long a caller that is sent away should wait, ms: this much, and up to as much again four times. */
const pushbackMs = 1000;

/**
 * An error as callers are told of it. What is not ours is not told to them: its text may name what they should not know.
 * One that says that there is too much to do has gRPC's own hint when to come back (gRFC A6), spread by `random`, which is uniform in
 * [0, 1), so that those who were sent away do not come back together.
 */
export function toStatus(error: unknown, random: () => number = Math.random): ConnectError {
  if (error instanceof ConnectError) return error;
  const code = isTulleError(error) ? codes[error.code] : undefined;
  if (code === undefined) return new ConnectError('internal error', Code.Internal);
  const status = new ConnectError(explain(error), code);
  if (code === Code.ResourceExhausted) {
    status.metadata.set('grpc-retry-pushback-ms', String(Math.round(pushbackMs * (1 + 4 * random()))));
  }
  return status;
}

/** As gRPC writes it: `RESOURCE_EXHAUSTED`. */
export function statusName({ code }: ConnectError): string {
  return Code[code].replaceAll(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase();
}

/**
 * The certificate service of the wire: `istio.v1.auth.IstioCertificateService`, method CreateCertificate.
 *
 *   call ─► who calls (token) ─► queue (bounded) ─► which identity (pods, now) ─► public key of the CSR ─► sign ─► audit line
 *
 * Nobody takes a place in the queue before it is known who they are: strangers must not be able to fill it.
 * What is refused is answered with a status and a reason the caller may know; what went wrong inside is logged, not told.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { Metadata, type ServerUnaryCall, type sendUnaryData, status } from '@grpc/grpc-js';
import {
  type IstioCertificateRequest,
  IstioCertificateRequestSchema,
  type IstioCertificateResponse,
  IstioCertificateResponseSchema,
} from '../../proto/gen/istio/ca/ca_pb.js';
import type { ErrorCode } from '../errors/codes.ts';
import { explain, isTulleError, TulleError } from '../errors/tulle-error.ts';
import type { Log } from '../kube/log.ts';
import type { CertificateAuthority, IssuedCertificate } from './authority.ts';
import type { Caller, CallerVerifier } from './caller.ts';
import { publicKeyOfRequest } from './certificate-request.ts';
import { type Entitlement, entitle } from './entitlement.ts';
import { type IssuanceLimits, IssuanceQueue } from './issuance-queue.ts';
import type { PodLookup } from './pod-lookup.ts';

export interface CertificateServiceOptions {
  readonly authority: Pick<CertificateAuthority, 'trustDomain' | 'signWorkload'>;
  readonly callers: CallerVerifier;
  readonly pods: PodLookup;
  /** Gets one line for every certificate, and one for every refusal. */
  readonly log: Log;
  /** Called with every outcome: `OK` or the status' name. For a metric. */
  readonly onOutcome?: (outcome: string) => void;
  readonly limits?: IssuanceLimits;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
}

type Call = ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>;
type Callback = sendUnaryData<IstioCertificateResponse>;

/** The service's one method, as grpc-js wants it described. */
export const certificateDefinition = {
  CreateCertificate: {
    path: '/istio.v1.auth.IstioCertificateService/CreateCertificate',
    requestStream: false,
    responseStream: false,
    requestSerialize: (message: IstioCertificateRequest) =>
      Buffer.from(toBinary(IstioCertificateRequestSchema, message)),
    requestDeserialize: (bytes: Buffer) => fromBinary(IstioCertificateRequestSchema, bytes),
    responseSerialize: (message: IstioCertificateResponse) =>
      Buffer.from(toBinary(IstioCertificateResponseSchema, message)),
    responseDeserialize: (bytes: Buffer) => fromBinary(IstioCertificateResponseSchema, bytes),
  },
} as const;

/** A grpc-js service: `server.addService(service.definition, service.implementation)`. */
export interface CertificateService {
  readonly definition: typeof certificateDefinition;
  readonly implementation: { CreateCertificate(call: Call, callback: Callback): void };
}

/** Enough to keep a core busy while reviews are under way; the queue empties in about a second. */
const defaultLimits: IssuanceLimits = { running: 64, waiting: 4096 };
/** The key of the metadata that names the identity a proxy wants for one of its pods. */
const impersonationKey = 'ImpersonatedIdentity';
/** How long a caller that is sent away should wait, ms: this much, and up to as much again four times. */
const pushbackMs = 1000;

/** The service, for one server. */
export function certificateService(options: CertificateServiceOptions): CertificateService {
  const queue = new IssuanceQueue(options.limits ?? defaultLimits);
  return {
    definition: certificateDefinition,
    implementation: {
      CreateCertificate(call, callback) {
        options.callers
          .verify(authorizationOf(call.metadata))
          .then((caller) => queue.run(() => issue(call, caller, options)))
          .then(
            (response) => {
              options.onOutcome?.('OK');
              callback(null, response);
            },
            (error: unknown) => callback(refusal(error, call, options)),
          );
      },
    },
  };
}

async function issue(
  call: Call,
  caller: Caller,
  options: CertificateServiceOptions,
): Promise<IstioCertificateResponse> {
  if (call.cancelled) throw new TulleError('IssuanceOverloaded', 'The caller went away while it waited.');
  const { authority, pods } = options;
  const entitlement = await entitle(caller, requestedIdentity(call.request), authority.trustDomain, pods);
  const publicKey = publicKeyOfRequest(call.request.csr);
  const certificate = authority.signWorkload(entitlement.id, publicKey, requestedSeconds(call.request));
  audit(options.log, caller, entitlement, certificate);
  return create(IstioCertificateResponseSchema, { certChain: [...certificate.chain] });
}

/** HTTP/2 in Node.js lets one header of this name through. */
function authorizationOf(metadata: Metadata): string | undefined {
  const [value] = metadata.get('authorization');
  return typeof value === 'string' ? value : undefined;
}

function requestedIdentity(request: IstioCertificateRequest): string | undefined {
  const value = request.metadata?.[impersonationKey];
  if (value === undefined) return undefined;
  if (typeof value === 'string') return value;
  throw new TulleError('SpiffeIdInvalid', `The request's ${impersonationKey} is not a text.`);
}

/** 0 is "as long as allowed". */
function requestedSeconds(request: IstioCertificateRequest): number {
  const seconds = Number(request.validityDuration);
  if (seconds >= 0) return seconds;
  throw new TulleError('CsrInvalid', 'The validity asked for is negative.');
}

/** Who got what: the record an auditor asks for. */
function audit(log: Log, caller: Caller, entitlement: Entitlement, certificate: IssuedCertificate): void {
  const fields = {
    identity: entitlement.id,
    caller: `${caller.namespace}/${caller.pod.name}`,
    callerUid: caller.pod.uid,
    node: entitlement.node,
    serial: certificate.serial,
    notAfter: certificate.validity.notAfter.toISOString(),
  };
  log.info(fields, 'certificate issued');
}

const statusOfCode: Partial<Record<ErrorCode, status>> = {
  CallerUnauthenticated: status.UNAUTHENTICATED,
  CallerNotPermitted: status.PERMISSION_DENIED,
  CsrInvalid: status.INVALID_ARGUMENT,
  SpiffeIdInvalid: status.INVALID_ARGUMENT,
  AuthorityNotLoaded: status.UNAVAILABLE,
  AuthorityWithheld: status.UNAVAILABLE,
  AuthorityExpired: status.UNAVAILABLE,
  CallerReviewUnavailable: status.UNAVAILABLE,
  CallerReviewsOverloaded: status.RESOURCE_EXHAUSTED,
  IssuanceOverloaded: status.RESOURCE_EXHAUSTED,
};

interface Refusal {
  readonly code: status;
  readonly details: string;
  readonly metadata: Metadata;
}

/** The answer to a call that gets no certificate. An error that is not ours came from looking up pods: trying again may help. */
function refusal(error: unknown, call: Call, options: CertificateServiceOptions): Refusal {
  const code = isTulleError(error) ? (statusOfCode[error.code] ?? status.INTERNAL) : status.UNAVAILABLE;
  const told = isTulleError(error) && code !== status.INTERNAL;
  const details = told ? explain(error) : 'The identity asked for cannot be checked now.';
  const name = status[code];
  options.onOutcome?.(name);
  options.log.warn(
    { status: name, peer: call.getPeer(), ...(told ? { why: details } : { err: error }) },
    'certificate refused',
  );
  return { code, details, metadata: retryHint(code, options.random ?? Math.random) };
}

/** gRPC's own header for it (gRFC A6): spread, so that those who were sent away do not come back together. */
function retryHint(code: status, random: () => number): Metadata {
  const metadata = new Metadata();
  if (code === status.RESOURCE_EXHAUSTED) {
    metadata.set('grpc-retry-pushback-ms', String(Math.round(pushbackMs * (1 + 4 * random()))));
  }
  return metadata;
}

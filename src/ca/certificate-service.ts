/**
 * The certificate service of the wire: `istio.v1.auth.IstioCertificateService`, method CreateCertificate.
 *
 *   call ─► who calls (token) ─► read ─► queue (bounded) ─► which identity (pods, now) ─► public key of the CSR ─► sign ─► audit line
 *
 * Nobody takes a place in the queue before it is known who they are: strangers must not be able to fill it.
 * What is refused is answered with a status and a reason the caller may know; what went wrong inside is logged, not told.
 */
import { create } from '@bufbuild/protobuf';
import {
  Code,
  type ConnectError,
  type ConnectRouter,
  createContextKey,
  type HandlerContext,
} from '@connectrpc/connect';
import {
  type IstioCertificateRequest,
  type IstioCertificateResponse,
  IstioCertificateResponseSchema,
  IstioCertificateService,
} from '../../proto/gen/istio/ca/ca_pb.js';
import { components, systemNamespace } from '../api/names.ts';
import { isTulleError, TulleError } from '../errors/tulle-error.ts';
import { callOf, guarded } from '../grpc/guarded.ts';
import { statusName, toStatus } from '../grpc/status.ts';
import type { Log } from '../kube/log.ts';
import { LimitedLog } from '../telemetry/limited-log.ts';
import type { CertificateAuthority, IssuedCertificate } from './authority.ts';
import type { Caller, CallerVerifier } from './caller.ts';
import { publicKeyOfRequest } from './certificate-request.ts';
import { type Entitlement, entitle } from './entitlement.ts';
import { FairQueue, type QueueLimits } from './fair-queue.ts';
import type { PodLookup } from './pod-lookup.ts';

export interface CertificateServiceOptions {
  readonly authority: Pick<CertificateAuthority, 'trustDomain' | 'signWorkload'>;
  readonly callers: CallerVerifier;
  readonly pods: PodLookup;
  /** Gets one line for every certificate and for every refusal of a caller that is known; for others, some. */
  readonly log: Log;
  /** Called with every outcome: `OK` or the status' name. For a metric. */
  readonly onOutcome?: (outcome: string) => void;
  readonly limits?: QueueLimits;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
}

/** Enough to keep a core busy while reviews are under way; the queue empties in about a second. */
const defaultLimits: QueueLimits = { running: 64, waiting: 4_096, waitingEach: 256 };
/** The key of the metadata that names the identity a proxy wants for one of its pods. */
const impersonationKey = 'ImpersonatedIdentity';
/** A request for a P-256 key is under 1 kB. */
const maxRequestBytes = 32 * 1024;

const callerKey = createContextKey<Caller | undefined>(undefined, { description: 'who asks for a certificate' });

/** The service, for the routes of one server. */
export function certificateService(options: CertificateServiceOptions): (router: ConnectRouter) => void {
  const queue = new FairQueue(options.limits ?? defaultLimits, issuanceOverloaded);
  const strangers = new LimitedLog(options.log);
  const refuse = (error: unknown, peer: string, log: Pick<Log, 'warn'>) => refusal(error, peer, { ...options, log });
  const guard = guarded({
    admit: (call) => options.callers.verify(call),
    key: callerKey,
    onRefused: (error, { peer }) => refuse(error, peer, strangers),
    maxMessageBytes: maxRequestBytes,
  });
  const createCertificate = async (request: IstioCertificateRequest, context: HandlerContext) => {
    try {
      const caller = known(context.values.get(callerKey));
      const response = await queue.run(shareOf(caller), () => issue(request, caller, context.signal, options));
      options.onOutcome?.('OK');
      return response;
    } catch (error) {
      throw refuse(error, callOf(context).peer, options.log);
    }
  };
  return (router) => router.service(IstioCertificateService, { createCertificate }, guard);
}

/** The guard has let somebody in before a handler runs. */
function known(caller: Caller | undefined): Caller {
  if (caller === undefined) throw new TulleError('CallerUnauthenticated', 'Nobody was let in.');
  return caller;
}

/** Node proxies take turns by node, everybody else by service account: more pods or tokens do not give a larger share. */
function shareOf({ namespace, serviceAccount, node }: Caller): string {
  const isProxy = namespace === systemNamespace && serviceAccount === components.proxy;
  return isProxy && node !== undefined ? `node ${node}` : `${namespace}/${serviceAccount}`;
}

function issuanceOverloaded(): TulleError {
  return new TulleError('IssuanceOverloaded', 'This replica has as many certificates to sign as it takes on.', {
    mend: 'Try again later, with jitter.',
  });
}

async function issue(
  request: IstioCertificateRequest,
  caller: Caller,
  signal: AbortSignal,
  options: CertificateServiceOptions,
): Promise<IstioCertificateResponse> {
  if (signal.aborted) throw new TulleError('IssuanceOverloaded', 'The caller went away while it waited.');
  const { authority, pods } = options;
  const entitlement = await entitle(caller, requestedIdentity(request), authority.trustDomain, pods);
  const publicKey = publicKeyOfRequest(request.csr);
  const certificate = authority.signWorkload(entitlement.id, publicKey, requestedSeconds(request));
  audit(options.log, caller, entitlement, certificate);
  return create(IstioCertificateResponseSchema, { certChain: [...certificate.chain] });
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

/** The answer to a call that gets no certificate. An error that is not ours came from looking up pods: trying again may help. */
function refusal(
  error: unknown,
  peer: string,
  { onOutcome, log, random }: Pick<CertificateServiceOptions, 'onOutcome' | 'random'> & { log: Pick<Log, 'warn'> },
): ConnectError {
  const known = isTulleError(error) ? error : new TulleError('CallerReviewUnavailable', notChecked, { cause: error });
  const status = toStatus(known, random);
  const told = status.code !== Code.Internal && isTulleError(error);
  const name = statusName(status);
  onOutcome?.(name);
  log.warn({ status: name, peer, ...(told ? { why: status.rawMessage } : { err: error }) }, 'certificate refused');
  return status;
}

const notChecked = 'The identity asked for cannot be checked now.';

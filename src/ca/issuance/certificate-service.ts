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
  type IstioCertificateRequest,
  type IstioCertificateResponse,
  IstioCertificateResponseSchema,
  IstioCertificateService,
} from '../../../proto/gen/istio/ca/ca_pb.js';
import { components, systemNamespace } from '../../api/names.ts';
import { isTulleError, TulleError } from '../../errors/tulle-error.ts';
import { type Method, unary } from '../../grpc/method.ts';
import { type StatusError, toStatus } from '../../grpc/status.ts';
import { FairQueue, type QueueLimits } from '../../limits/fair-queue.ts';
import { LimitedLog } from '../../limits/limited-log.ts';
import { type ShareLimits, Shares } from '../../limits/shares.ts';
import type { Log } from '../../telemetry/log.ts';
import type { CertificateAuthority, IssuedCertificate } from '../authority/authority.ts';
import { publicKeyOfRequest } from '../x509/certificate-request.ts';
import type { Caller, CallerVerifier } from './caller.ts';
import { type Entitlement, entitle } from './entitlement.ts';
import type { PodLookup } from './pod-lookup.ts';

/** Calls open at once: of node proxies, each a node; and of everybody else, each a namespace. */
export interface OpenCallLimits {
  readonly proxies: ShareLimits;
  readonly others: ShareLimits;
}

export interface CertificateServiceOptions {
  readonly authority: Pick<CertificateAuthority, 'trustDomain' | 'signWorkload'>;
  readonly callers: CallerVerifier;
  readonly pods: PodLookup;
  /** Gets one line for every certificate and for every refusal of a caller that is known; for others, some. */
  readonly log: Log;
  /** Called with every outcome: `OK` or the status' name. For a metric. */
  readonly onOutcome?: (outcome: string) => void;
  readonly limits?: QueueLimits;
  readonly openCalls?: OpenCallLimits;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
}

/** Enough to keep a core busy while reviews are under way; the queue empties in about a second. */
const defaultLimits: QueueLimits = { running: 64, waiting: 4_096, waitingEach: 256 };
/**
 * Each holds up to 64 KiB: headers, a request, and what is not read of it. A node with 250 pods may ask for all of them at once,
 * and all proxies together fill the queue; who asks for itself asks once.
 */
const defaultOpenCalls: OpenCallLimits = { proxies: { each: 256, all: 4_608 }, others: { each: 32, all: 512 } };
/** The key of the metadata that names the identity a proxy wants for one of its pods. */
const impersonationKey = 'ImpersonatedIdentity';
/** A request for a P-256 key is under 1 kB. */
const maxRequestBytes = 32 * 1024;

/** The service, for one server. */
export function certificateService(options: CertificateServiceOptions): Method {
  const queue = new FairQueue(options.limits ?? defaultLimits, issuanceOverloaded);
  const { proxies, others } = options.openCalls ?? defaultOpenCalls;
  const open = { proxies: new Shares(proxies), others: new Shares(others) };
  const notLetIn = new LimitedLog(options.log);
  const refuse = (error: unknown, peer: string, log: Pick<Log, 'warn'>) => refusal(error, peer, { ...options, log });
  const guard = {
    admit: options.callers.verify,
    share: (caller: Caller) =>
      isProxy(caller)
        ? { of: open.proxies, holder: turnOf(caller) }
        : { of: open.others, holder: `namespace ${caller.namespace}` },
    onRefused: (error: unknown, { peer }: { peer: string }) => refuse(error, peer, notLetIn),
    maxMessageBytes: maxRequestBytes,
  };
  return unary(IstioCertificateService.method.createCertificate, guard, async (request, caller, { signal, peer }) => {
    try {
      const response = await queue.run(turnOf(caller), () => issue(request, caller, signal, options));
      options.onOutcome?.('OK');
      return response;
    } catch (error) {
      throw refuse(error, peer, options.log);
    }
  });
}

/**
 * Node proxies take turns by node, everybody else by service account: more pods or tokens do not give a larger share. API servers
 * before 1.32 do not tell the node; a proxy is one pod of it then.
 */
function turnOf(caller: Caller): string {
  const { namespace, serviceAccount, node, pod } = caller;
  return isProxy(caller) ? `node ${node ?? `of pod ${pod.name}`}` : `${namespace}/${serviceAccount}`;
}

function isProxy({ namespace, serviceAccount }: Caller): boolean {
  return namespace === systemNamespace && serviceAccount === components.proxy;
}

function issuanceOverloaded(): TulleError {
  return new TulleError('IssuanceOverloaded', 'This replica has as many certificates to sign as it takes on.', {
    fix: 'Try again later, with jitter.',
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
): StatusError {
  const known = isTulleError(error) ? error : new TulleError('CallerReviewUnavailable', notChecked, { cause: error });
  const status = toStatus(known, random);
  const told = status.code !== 'INTERNAL' && isTulleError(error);
  onOutcome?.(status.code);
  log.warn({ status: status.code, peer, ...(told ? { why: status.message } : { err: error }) }, 'certificate refused');
  return status;
}

const notChecked = 'The identity asked for cannot be checked now.';

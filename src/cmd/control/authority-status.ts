import type { Mesh, MeshStatus } from '../../api/mesh.ts';
import { apiVersion, fieldManagers, meshName } from '../../api/names.ts';
import type { AuthorityReport } from '../../ca/authority.ts';
import { explain } from '../../errors/tulle-error.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { Clock } from '../../kube/clock.ts';
import { conditionsFor, conditionTime, type Verdict } from '../../kube/conditions.ts';
import type { Log } from '../../kube/log.ts';
import type { Manifest } from '../../kube/objects.ts';
import { firstDifference } from '../../kube/server-side-apply.ts';

export interface AuthorityStatusOptions {
  readonly client: Pick<KubeClient, 'applyStatus'>;
  /** The Mesh as it is now, undefined when there is none. */
  readonly mesh: () => Mesh | undefined;
  readonly report: () => AuthorityReport;
  readonly clock: Pick<Clock, 'now' | 'sleep'>;
  readonly log: Log;
}

/** Before a write that failed is tried again, ms. */
const retryMs = 5_000;

/**
 * Writes how the authority stands into the Mesh's status: `status.authority` and the condition AuthorityReady. Only the
 * replica that leads does so; `wake` says that something may have changed.
 */
export class AuthorityStatus {
  readonly #options: AuthorityStatusOptions;
  #nap = new AbortController();

  constructor(options: AuthorityStatusOptions) {
    this.#options = options;
  }

  wake(): void {
    this.#nap.abort();
  }

  /** Until the signal aborts, which is when another replica leads. */
  async lead(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    while (!signal.aborted) {
      this.#nap = new AbortController();
      const asleep = AbortSignal.any([signal, this.#nap.signal]);
      try {
        await this.#write();
        await aborted(asleep);
      } catch (error) {
        log.warn({ err: error }, 'the status of the authority cannot be written');
        await clock.sleep(retryMs, asleep);
      }
    }
  }

  /** Nothing where the Mesh says it already. */
  async #write(): Promise<void> {
    const { client, mesh, report, clock } = this.#options;
    const live = mesh();
    if (live === undefined) return;
    const desired = authorityStatus(report(), live, conditionTime(clock.now()));
    if (firstDifference(desired.authority, live.status?.authority) === undefined && hasConditions(live, desired))
      return;
    const manifest: Manifest = { apiVersion, kind: 'Mesh', metadata: { name: meshName }, status: desired };
    await client.applyStatus(manifest, { fieldManager: fieldManagers.control, force: true });
  }
}

type Status = Pick<MeshStatus, 'authority' | 'conditions'>;

/** The part of a Mesh's status that tulle-control owns. */
export function authorityStatus(report: AuthorityReport, mesh: Mesh, now: string): Status {
  const { generation } = mesh.metadata;
  const verdict: Verdict = {
    type: 'AuthorityReady',
    ...(report.serving
      ? { status: 'True', reason: report.problem?.code ?? 'Serving', message: 'Certificates are signed.' }
      : { status: 'False', reason: report.problem?.code ?? 'Loading', message: 'No certificate can be signed.' }),
    ...(report.problem === undefined ? {} : { message: explain(report.problem) }),
    ...(generation === undefined ? {} : { observedGeneration: generation }),
  };
  return {
    conditions: conditionsFor(mesh.status?.conditions, [verdict], now),
    ...(report.status === undefined ? {} : { authority: report.status }),
  };
}

function hasConditions(live: Mesh, desired: Status): boolean {
  const conditions = live.status?.conditions ?? [];
  return (desired.conditions ?? []).every((wanted) =>
    conditions.some((condition) => firstDifference(wanted, condition) === undefined),
  );
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

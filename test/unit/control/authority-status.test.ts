import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict';
import type { Mesh } from '../../../src/api/mesh.ts';
import type { AuthorityReport } from '../../../src/ca/authority/authority.ts';
import { AuthorityStatus, authorityReady } from '../../../src/control/authority-status.ts';
import { TulleError } from '../../../src/errors/tulle-error.ts';
import type { EventNote } from '../../../src/kube/events.ts';
import type { KubeObject, Manifest } from '../../../src/kube/objects.ts';
import { silentLog } from '../../../src/telemetry/log.ts';
import { FakeClock, turn } from '../../fixtures/fake-clock.ts';

const status = { trustDomain: 'cluster.local', bundleSha256: 'ab', authorities: [] };
const issuing: AuthorityReport = { issuing: true, problem: undefined, status };
const lost = new TulleError('AuthorityLost', 'The Secret is gone.', { fix: 'Restore it.' });
const withheld: AuthorityReport = { issuing: false, problem: lost, status };

function meshOf(status?: Mesh['status']): Mesh {
  const quiet = {
    apiVersion: 'mesh.tulle.dev/v1alpha1',
    kind: 'Mesh',
    metadata: { name: 'default', generation: 3 },
  } as const;
  return status === undefined ? quiet : { ...quiet, status };
}

describe('the condition AuthorityReady', () => {
  it('is true while certificates are signed, and names what keeps a replica from looking at the Secret', () => {
    deepStrictEqual(authorityReady(issuing, 3), {
      type: 'AuthorityReady',
      status: 'True',
      reason: 'Serving',
      message: 'Certificates are signed.',
      observedGeneration: 3,
    });
    const problem = new TulleError('KubernetesUnreachable', 'It cannot be read.');
    const { status, reason, message } = authorityReady({ ...issuing, problem }, 3);
    deepStrictEqual(
      [status, reason, message],
      ['True', 'KubernetesUnreachable', 'Certificates are signed. It cannot be read.'],
    );
  });

  it('R15 is false with the reason, the fix and the consequence, whatever this replica itself holds', () => {
    const said = authorityReady(withheld, 3);
    deepStrictEqual([said.status, said.reason], ['False', 'AuthorityLost']);
    match(said.message, /^The Secret is gone\. Restore it\. No certificate is signed/);
    deepStrictEqual(authorityReady({ ...withheld, status: undefined }, 3), said);
    strictEqual(authorityReady({ issuing: false, problem: undefined, status: undefined }, 3).reason, 'Loading');
  });
});

describe('the status of the authority', () => {
  const clock = new FakeClock();
  let stop: AbortController;
  let mesh: Mesh | undefined;
  let report: AuthorityReport;
  let vacant: boolean;
  let failures: number;
  let written: { fieldManager: string; status: NonNullable<Mesh['status']> }[];
  let events: EventNote[];
  let writer: AuthorityStatus;

  beforeEach(() => {
    stop = new AbortController();
    mesh = meshOf();
    report = issuing;
    vacant = true;
    failures = 0;
    written = [];
    events = [];
    writer = new AuthorityStatus({
      client: {
        applyStatus: async <T extends KubeObject>(manifest: Manifest, { fieldManager }: { fieldManager: string }) => {
          if (failures-- > 0) throw new Error('refused');
          const status = Object(manifest.status);
          written.push({ fieldManager, status });
          mesh = meshOf({ ...mesh?.status, ...status });
          const answer: T = JSON.parse(JSON.stringify(manifest));
          return answer;
        },
      },
      events: {
        record: async (_, note) => {
          events.push(note);
        },
      },
      mesh: () => mesh,
      report: () => report,
      vacant: async () => vacant,
      clock,
      log: silentLog,
    });
  });

  /** Runs until `during` has been through. */
  async function running(task: 'lead' | 'warn', during: () => Promise<void>): Promise<void> {
    const done = task === 'lead' ? writer.lead(stop.signal) : writer.warn(stop.signal);
    await turn();
    await during();
    stop.abort();
    await done;
  }

  it('is written once by the leader, and again only when the Mesh says something else', async () => {
    await running('lead', async () => {
      writer.wake();
      await turn();
      strictEqual(written.length, 1);
      mesh = meshOf();
      writer.wake();
      await turn();
    });
    deepStrictEqual(
      written.map(({ fieldManager, status }) => [fieldManager, status.authority, status.conditions?.[0]?.status]),
      [
        ['tulle-control', status, 'True'],
        ['tulle-control', status, 'True'],
      ],
    );
  });

  it('keeps the time since when it holds while its truth does not change', async () => {
    const conditions = [{ ...authorityReady(issuing, 2), lastTransitionTime: '2026-01-01T00:00:00Z' }];
    mesh = meshOf({ conditions });
    await running('lead', async () => {});
    strictEqual(written[0]?.status.conditions?.[0]?.lastTransitionTime, '2026-01-01T00:00:00Z');
  });

  it('is tried again when it could not be written', async () => {
    failures = 3;
    await running('lead', () => clock.advance(20_000));
    strictEqual(written.length, 1);
  });

  it('is not written without a Mesh', async () => {
    mesh = undefined;
    await running('lead', async () => writer.wake());
    report = withheld;
    stop = new AbortController();
    await running('warn', () => clock.advance(20_000));
    deepStrictEqual([written, events], [[], []]);
  });

  it('R15 is an Event and a condition from one that signs nothing, and what was reported of the authority stays', async () => {
    mesh = meshOf({ authority: status });
    report = { ...withheld, status: undefined };
    await running('warn', async () => {
      await clock.advance(60_000);
      report = issuing;
    });
    deepStrictEqual(
      written.map(({ fieldManager, status }) => [fieldManager, Object.keys(status), status.conditions?.[0]?.reason]),
      [['tulle-control-warning', ['conditions'], 'AuthorityLost']],
    );
    const [first] = events;
    deepStrictEqual([first?.type, first?.reason, first?.isNews], ['Warning', 'AuthorityLost', true]);
    match(first?.note ?? '', /Restore it/);
    ok(
      events.slice(1, -1).every(({ isNews }) => isNews === false),
      'what is still so is no news',
    );
    strictEqual(events.at(-1)?.reason, 'AuthorityServing');
  });

  it('R11 is not overwritten by one that signs nothing while another leads, who signs; it is once nobody does', async () => {
    report = withheld;
    vacant = false;
    await running('warn', async () => {
      await clock.advance(60_000);
      deepStrictEqual([written, events[0]?.reason], [[], 'AuthorityLost']);
      vacant = true;
      await clock.advance(6_000);
    });
    strictEqual(written.length, 1);
  });
});

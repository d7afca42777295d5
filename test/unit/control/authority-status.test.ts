import { deepStrictEqual, strictEqual } from 'node:assert/strict';
import type { Mesh } from '../../../src/api/mesh.ts';
import type { AuthorityReport } from '../../../src/ca/authority.ts';
import { AuthorityStatus, authorityStatus } from '../../../src/cmd/control/authority-status.ts';
import { TulleError } from '../../../src/errors/tulle-error.ts';
import { silentLog } from '../../../src/kube/log.ts';
import type { KubeObject, Manifest } from '../../../src/kube/objects.ts';

const status = { trustDomain: 'cluster.local', bundleSha256: 'ab', authorities: [] };
const serving: AuthorityReport = { serving: true, problem: undefined, status };

function meshOf(status?: Mesh['status']): Mesh {
  const quiet = {
    apiVersion: 'mesh.tulle.dev/v1alpha1',
    kind: 'Mesh',
    metadata: { name: 'default', generation: 3 },
  } as const;
  return status === undefined ? quiet : { ...quiet, status };
}

describe('the status of the authority', () => {
  it('is what is served, and that it is', () => {
    deepStrictEqual(authorityStatus(serving, meshOf(), 'T1'), {
      authority: status,
      conditions: [
        {
          type: 'AuthorityReady',
          status: 'True',
          reason: 'Serving',
          message: 'Certificates are signed.',
          observedGeneration: 3,
          lastTransitionTime: 'T1',
        },
      ],
    });
  });

  it('names the problem and its mend, and keeps the time while its truth does not change', () => {
    const problem = new TulleError('AuthorityLost', 'The Secret is gone.', { mend: 'Restore it.' });
    const before = meshOf({ conditions: authorityStatus(serving, meshOf(), 'T1').conditions });
    const [still] = authorityStatus({ ...serving, problem }, before, 'T2').conditions ?? [];
    deepStrictEqual([still?.status, still?.reason, still?.lastTransitionTime], ['True', 'AuthorityLost', 'T1']);
    strictEqual(still?.message, 'The Secret is gone. Restore it.');
    const broken = authorityStatus({ serving: false, problem, status: undefined }, before, 'T2');
    deepStrictEqual([broken.authority, broken.conditions?.[0]?.status], [undefined, 'False']);
    strictEqual(broken.conditions?.[0]?.lastTransitionTime, 'T2');
  });
});

describe('the replica that leads', () => {
  /** A Mesh that takes what is written, and a leader that writes. */
  function setUp(fail: { times: number } = { times: 0 }) {
    const stop = new AbortController();
    const written: Manifest[] = [];
    let mesh: Mesh | undefined = meshOf();
    let wrote = Promise.withResolvers<void>();
    const leader = new AuthorityStatus({
      client: {
        applyStatus: async <T extends KubeObject>(manifest: Manifest): Promise<T> => {
          if (fail.times-- > 0) throw new Error('refused');
          written.push(manifest);
          mesh = meshOf(Object(manifest.status));
          wrote.resolve();
          return JSON.parse(JSON.stringify(manifest));
        },
      },
      mesh: () => mesh,
      report: () => serving,
      clock: { now: () => 0, sleep: async () => {} },
      log: silentLog,
    });
    const next = () => {
      wrote = Promise.withResolvers();
      return wrote.promise;
    };
    const set = (value: Mesh | undefined) => {
      mesh = value;
    };
    return { stop, written, leader, set, next };
  }

  it('writes once, and again only when the Mesh says something else', async () => {
    const { stop, written, leader, set, next } = setUp();
    const first = next();
    const leading = leader.lead(stop.signal);
    await first;
    leader.wake();
    leader.wake();
    const second = next();
    set(meshOf());
    leader.wake();
    await second;
    strictEqual(written.length, 2);
    stop.abort();
    await leading;
  });

  it('tries again when it could not write', async () => {
    const { stop, written, leader, next } = setUp({ times: 3 });
    const first = next();
    const leading = leader.lead(stop.signal);
    await first;
    strictEqual(written.length, 1);
    stop.abort();
    await leading;
  });

  it('writes nothing without a Mesh', async () => {
    const { stop, written, leader, set } = setUp();
    set(undefined);
    const leading = leader.lead(stop.signal);
    leader.wake();
    await new Promise((resolve) => setImmediate(resolve));
    stop.abort();
    await leading;
    strictEqual(written.length, 0);
  });
});

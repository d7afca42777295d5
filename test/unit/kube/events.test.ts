import assert from 'node:assert/strict';
import { ApiError } from '../../../src/kube/client/client.ts';
import { EventRecorder } from '../../../src/kube/events.ts';
import { silentLog } from '../../../src/telemetry/log.ts';
import { FakeClock } from '../../fixtures/fake-clock.ts';

interface Written {
  metadata: { name: string; namespace: string };
  note: string;
  regarding: { namespace?: string; uid?: string };
}

describe('the event recorder', () => {
  let created: Written[];
  let series: { path: string; count: number }[];
  let refuse: ApiError | undefined;
  let clock: FakeClock;
  let recorder: EventRecorder;
  const shop = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', uid: 'u1' } };
  const note = { type: 'Warning' as const, reason: 'InvalidMode', action: 'ReadLabels', note: 'a typo' };

  beforeEach(() => {
    created = [];
    series = [];
    refuse = undefined;
    clock = new FakeClock();
    const client = {
      create: async <T>(_path: string, object: unknown): Promise<T> => {
        if (refuse !== undefined) throw refuse;
        created.push(JSON.parse(JSON.stringify(object)));
        return JSON.parse('{}');
      },
      patch: async <T>(path: string, patch: object): Promise<T> => {
        if (refuse !== undefined) throw refuse;
        series.push({ path, ...JSON.parse(JSON.stringify(patch)).series });
        return JSON.parse('{}');
      },
    };
    recorder = new EventRecorder({ client, controller: 'c', instance: 'i', log: silentLog, clock });
  });

  it('writes an event about a Namespace into that namespace, and about other cluster-scoped objects into default', async () => {
    await recorder.record(shop, note);
    await recorder.record({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } }, note);
    assert.deepEqual(
      created.map(({ metadata, regarding }) => [metadata.namespace, regarding.namespace]),
      [
        ['shop', 'shop'],
        ['default', undefined],
      ],
    );
  });

  it('does not repeat itself: a repeat becomes the series of the first, at most every five minutes', async () => {
    for (let i = 0; i < 100; i += 1) {
      await recorder.record(shop, note);
      await clock.advance(10_000);
    }
    assert.equal(created.length, 1);
    assert.equal(series.length, 3);
    assert.deepEqual(series.at(-1)?.count, 91);
  });

  it('writes at once what has happened again', async () => {
    for (let i = 0; i < 3; i += 1) await recorder.record(shop, { ...note, isNews: true });
    assert.deepEqual([created.length, ...series.map(({ count }) => count)], [1, 2, 3]);
  });

  it('writes an event anew that the API server has expired', async () => {
    let times = 0;
    const client = {
      create: async <T>(): Promise<T> => {
        times += 1;
        return JSON.parse('{}');
      },
      patch: () => Promise.reject(new ApiError({ status: 404, reason: 'NotFound', message: '', path: '' })),
    };
    const expiring = new EventRecorder({ client, controller: 'c', instance: 'i', log: silentLog, clock });
    for (let i = 0; i < 3; i += 1) await expiring.record(shop, { ...note, isNews: true });
    assert.equal(times, 3);
  });

  it('finds its own event again after a restart', async () => {
    await recorder.record(shop, note);
    const name = created[0]?.metadata.name;
    refuse = new ApiError({ status: 409, reason: 'AlreadyExists', message: '', path: '' });
    const again = new EventRecorder({
      client: {
        create: () => Promise.reject(refuse),
        patch: async (path) => {
          series.push({ path, count: 0 });
          return JSON.parse('{}');
        },
      },
      controller: 'c',
      instance: 'another',
      log: silentLog,
      clock,
    });
    await again.record(shop, note);
    await clock.advance(600_000);
    await again.record(shop, note);
    assert.deepEqual(
      series.map(({ path }) => path),
      [`/apis/events.k8s.io/v1/namespaces/shop/events/${name}`],
    );
    assert.match(name ?? '', /^shop\.[0-9a-f]{16}$/);
    assert.equal(created.length, 1);
  });

  it('writes anew when the event has expired', async () => {
    await recorder.record(shop, note);
    await clock.advance(600_000);
    refuse = new ApiError({ status: 404, reason: 'NotFound', message: '', path: '' });
    await recorder.record(shop, note);
    refuse = undefined;
    await recorder.record(shop, note);
    assert.equal(created.length, 2);
  });

  it('cuts a note at the limit of the API, between characters', async () => {
    await recorder.record(shop, { ...note, note: 'ä'.repeat(2_000) });
    const written = created[0]?.note ?? '';
    assert.ok(Buffer.byteLength(written) <= 1024 && Buffer.byteLength(written) > 1000);
    assert.match(written, /^ä+…$/);
  });

  it('gives events a valid name, however the object is called', async () => {
    await recorder.record({ kind: 'Pod', metadata: { name: `${'a'.repeat(199)}.-b`, namespace: 'shop' } }, note);
    assert.match(created[0]?.metadata.name ?? '', /^a+\.[0-9a-f]{16}$/);
  });
});

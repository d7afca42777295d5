import assert from 'node:assert/strict';
import type { EventNote } from '../../../../src/kube/events.ts';
import { NodeAnnouncer } from '../../../../src/operator/nodes/announcer.ts';
import type { NodeState } from '../../../../src/operator/nodes/node-state.ts';
import { FakeClock } from '../../../fixtures/fake-clock.ts';

const waiting = (reason: string, message = 'a sentence.'): NodeState => ({ state: 'Waiting', reason, message });
const served: NodeState = { state: 'Served' };

describe('R36 what a node is told of its waiting', () => {
  let clock: FakeClock;
  let notes: EventNote[];
  let announcer: NodeAnnouncer;
  const node = { metadata: { name: 'node-3', uid: 'one' } };

  /** Passes until the announcer has nothing to wait for. */
  async function settle(state: NodeState, regarding = node): Promise<void> {
    for (;;) {
      const outcome = await announcer.announce(regarding, state);
      if (outcome.kind === 'done') return;
      await clock.advance(outcome.afterMs);
    }
  }

  beforeEach(() => {
    clock = new FakeClock();
    notes = [];
    const events = { record: async (_regarding: object, note: EventNote) => void notes.push(note) };
    announcer = new NodeAnnouncer({ clock, events });
  });

  it('R36 is for what, once, however long it lasts, and that it is over', async () => {
    await settle(waiting('NoProxy', 'no tulle-proxy is connected on this node'));
    await clock.advance(3_600_000);
    await settle(waiting('NoProxy', 'no tulle-proxy is connected on this node'));
    await settle(served);
    await settle(served);
    assert.deepEqual(
      notes.map(({ type, reason }) => `${type} ${reason}`),
      ['Warning MeshNotReady', 'Normal MeshReady'],
    );
    assert.match(
      notes[0]?.note ?? '',
      /^NoProxy: no tulle-proxy is connected on this node\. Pods wait .*mesh\.tulle\.dev\/not-ready:NoSchedule/,
    );
  });

  it('R36 is why pods do not wait any more, where the mesh does not serve', async () => {
    await settle(waiting('NoProxy'));
    await settle({ state: 'Open' });
    assert.deepEqual(
      notes.map(({ reason }) => reason),
      ['MeshNotReady', 'MeshNotAwaited'],
    );
  });

  it('R36 is each reason that lasts, and none that does not', async () => {
    await announcer.announce(node, waiting('AgentNotReported'));
    await clock.advance(4_000);
    await settle(waiting('CniNotInstalled'));
    await settle(waiting('NoProxy'));
    assert.deepEqual(
      notes.map(({ note }) => note.split(':')[0]),
      ['CniNotInstalled', 'NoProxy'],
    );
  });

  it('R36 is nothing where the mesh serves within seconds', async () => {
    await announcer.announce(node, waiting('AgentNotReported'));
    await clock.advance(3_000);
    await settle(served);
    assert.deepEqual(notes, []);
  });

  it('R36 is told anew to another node of the same name', async () => {
    await settle(waiting('NoProxy'));
    await settle(waiting('NoProxy'), { metadata: { name: 'node-3', uid: 'two' } });
    assert.equal(notes.length, 2);
  });
});

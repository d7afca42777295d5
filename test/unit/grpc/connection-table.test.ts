import { deepStrictEqual, strictEqual } from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { ConnectionTable, type ConnectionTableLimits } from '../../../src/grpc/connection-table.ts';

/** As much of a socket as the table looks at. */
class FakeSocket extends EventEmitter {
  readonly remoteAddress: string | undefined;
  readonly remotePort: number;
  isDestroyed = false;

  constructor(remoteAddress: string | undefined, remotePort: number) {
    super();
    this.remoteAddress = remoteAddress;
    this.remotePort = remotePort;
  }

  get peer(): string {
    return `${this.remoteAddress}:${this.remotePort}`;
  }

  destroy(): this {
    if (!this.isDestroyed) {
      this.isDestroyed = true;
      this.emit('close');
    }
    return this;
  }
}

describe('R37 the table of connections', () => {
  const limits: ConnectionTableLimits = {
    connections: { each: 100, all: 1000 },
    unauthenticated: { each: 3, all: 6 },
    newConnections: { burst: 1000, perSecond: 1 },
  };
  let port = 0;

  function open(table: ConnectionTable, address: string): FakeSocket {
    port += 1;
    const socket = new FakeSocket(address, port);
    strictEqual(table.add(socket), !socket.isDestroyed);
    return socket;
  }

  const alive = (sockets: readonly FakeSocket[]) => sockets.map(({ isDestroyed }) => !isDestroyed);

  it('counts no socket that its peer has reset already, and one whose port is used again once', () => {
    const table = new ConnectionTable(limits);
    for (let turn = 0; turn < 20; turn++) {
      const reset = new FakeSocket(undefined, 0);
      strictEqual(table.add(reset), false);
      strictEqual(reset.isDestroyed, true);
    }
    const before = new FakeSocket('a', 1);
    const again = new FakeSocket('a', 1);
    table.add(before);
    table.add(again);
    before.destroy();
    table.cut('a:1');
    strictEqual(again.isDestroyed, true, 'the later one is known by its port still');
    const many = ['b', 'b', 'c', 'c', 'd', 'd'].map((address) => open(table, address));
    deepStrictEqual(new Set(alive(many)), new Set([true]), 'every place is free again');
  });

  it('ends the oldest unauthenticated one of an address for a new one, and no authenticated one', () => {
    const table = new ConnectionTable(limits);
    const authenticated = open(table, 'a');
    table.markAuthenticated('a', authenticated.peer);
    const sockets = [1, 2, 3, 4].map(() => open(table, 'a'));
    deepStrictEqual(alive([authenticated, ...sockets]), [true, false, true, true, true]);
  });

  it('ends one of the address that has most, when it is full: who has few keeps them', () => {
    const table = new ConnectionTable(limits);
    const honest = open(table, 'honest');
    const many = [1, 2, 3].map(() => open(table, 'many'));
    const few = [1, 2].map(() => open(table, 'few'));
    const newcomer = open(table, 'newcomer');
    deepStrictEqual(alive([honest, ...many, ...few, newcomer]), [true, false, true, true, true, true, true]);
  });

  it('has room again for one that was let in, or has ended', () => {
    const table = new ConnectionTable(limits);
    const [first, second, third] = [open(table, 'a'), open(table, 'a'), open(table, 'a')];
    table.markAuthenticated('a', first.peer);
    second.destroy();
    const more = [open(table, 'a'), open(table, 'a')];
    deepStrictEqual(alive([first, third, ...more]), [true, true, true, true]);
  });

  it('takes no more of an address than it may have, nor more often, and of others all the same', () => {
    const full = new ConnectionTable({ ...limits, connections: { each: 2, all: 1000 } });
    deepStrictEqual(alive(['a', 'a', 'a', 'b'].map((address) => open(full, address))), [true, true, false, true]);
    const rated = new ConnectionTable({ ...limits, newConnections: { burst: 2, perSecond: 0.001 } });
    const sockets = ['a', 'a', 'a', 'b'].map((address) => {
      const socket = open(rated, address);
      const stayed = !socket.isDestroyed;
      socket.destroy();
      return stayed;
    });
    deepStrictEqual(sockets, [true, true, false, true]);
  });

  it('ends what it is told to end', () => {
    const table = new ConnectionTable(limits);
    const [first, second] = [open(table, 'a'), open(table, 'b')];
    table.cut(first.peer);
    deepStrictEqual(alive([first, second]), [false, true]);
    table.cutAll();
    deepStrictEqual(alive([first, second]), [false, false]);
  });
});

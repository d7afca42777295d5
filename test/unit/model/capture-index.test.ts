import { strictEqual } from 'node:assert/strict';
import { CaptureIndex } from '../../../src/model/capture-index.ts';

describe('the words of nodes', () => {
  it('take no more room than the pods that are there, once nodes are silent', () => {
    const index = new CaptureIndex();
    for (let node = 0; node < 100; node++) {
      index.replace(`node-${node}`, new Set([`here-${node}`, `gone-${node}`]));
      index.fallSilent(`node-${node}`, (uid) => uid.startsWith('here'));
    }
    strictEqual(index.size, 100);
    strictEqual(index.isCaptured('here-7', 'node-7'), true);
    for (let node = 0; node < 100; node++) index.forget(`here-${node}`, `node-${node}`);
    strictEqual(index.size, 0);
    strictEqual(index.isCaptured('here-7', 'node-7'), false);
  });

  it('are not shortened while a node speaks: it may know of a pod before anybody else does', () => {
    const index = new CaptureIndex();
    index.replace('node-1', new Set(['u1']));
    index.forget('u1', 'node-1');
    strictEqual(index.isCaptured('u1', 'node-1'), true);
  });
});

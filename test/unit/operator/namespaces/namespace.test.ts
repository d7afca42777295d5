import { deepStrictEqual } from 'node:assert/strict';
import { isEnrolled } from '../../../../src/operator/namespaces/namespace.ts';

const namespace = (name: string, mode?: string) => ({
  metadata: { name, ...(mode === undefined ? {} : { labels: { 'mesh.tulle.dev/mode': mode } }) },
});

describe('a namespace', () => {
  it('is enrolled when its label says so in the very word, and not otherwise', () => {
    deepStrictEqual(
      [undefined, 'ambient', 'Ambient', 'none', ''].map((mode) => isEnrolled(namespace('shop', mode))),
      [false, true, false, false, false],
    );
  });

  it('of the cluster or of the mesh itself is never enrolled, whatever its label says', () => {
    deepStrictEqual(
      ['kube-system', 'tulle-system', 'kube-public', 'default'].map((name) => isEnrolled(namespace(name, 'ambient'))),
      [false, false, true, true],
    );
  });
});

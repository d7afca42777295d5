import assert from 'node:assert/strict';
import { clusterLayout } from '../../../hack/cluster/layout.ts';
import { nodeCount } from '../../../hack/cluster/node-count.ts';

describe('the layout of test clusters', () => {
  it('gives two clusters nothing in common', () => {
    const one = clusterLayout('one', 0, 3);
    const other = clusterLayout('other', 1, 3);
    const names = (cluster: typeof one) => [
      cluster.bridge,
      cluster.address,
      cluster.folder,
      ...cluster.nodes.flatMap((node) => [node.address, node.podCidr, node.netns, node.link, node.folder]),
    ];
    assert.equal(new Set([...names(one), ...names(other)]).size, names(one).length * 2);
  });

  it('keeps link names within the kernel’s 15 characters', () => {
    const { bridge, nodes } = clusterLayout('a-cluster-with-a-very-long-name', 9, 9);
    for (const name of [bridge, ...nodes.map(({ link }) => link)]) assert.ok(name.length <= 15, name);
  });

  it('takes 1 to 9 nodes and names what it was given otherwise', () => {
    assert.equal(nodeCount(undefined), 2);
    assert.equal(nodeCount('3'), 3);
    for (const text of ['0', '10', '2.5', 'two', '-1'])
      assert.throws(() => nodeCount(text), new RegExp(`NODES=${text}`));
  });
});

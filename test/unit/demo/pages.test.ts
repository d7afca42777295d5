import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { annotations, labels, meshFinalizer, meshNodeFinalizer, ports, startupTaint } from '../../../src/api/names.ts';

const root = join(import.meta.dirname, '../../..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const decisions = globSync('docs/adr/0*.md', { cwd: root }).sort();
const pages = [
  'README.md',
  'ARCHITECTURE.md',
  'CONTRIBUTING.md',
  'docs/adr/README.md',
  'docs/limits.md',
  'docs/wire.md',
  ...decisions,
].concat(globSync('docs/user/*.md', { cwd: root }).sort());

/** As GitHub makes them from headings. */
const anchors = (page: string) =>
  [...read(page).matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );

describe('the pages', () => {
  it('link to what is there', () => {
    for (const page of pages) {
      for (const [, target = ''] of read(page).matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^https?:/.test(target)) continue;
        const [path = '', anchor] = target.split('#');
        const file = path === '' ? page : join(dirname(page), path);
        assert.ok(existsSync(join(root, file)), `${page} links to ${target}`);
        if (anchor !== undefined) assert.ok(anchors(file).includes(anchor), `${page} links to ${target}`);
      }
    }
  });

  it('name only targets that make has', () => {
    const targets = new Set([...read('Makefile').matchAll(/^([a-z-]+):/gm)].map(([, target]) => target));
    for (const page of pages) {
      for (const [, target] of read(page).matchAll(/(?:^|`)make ([a-z-]+)/gm)) {
        assert.ok(targets.has(target), `${page} says make ${target}`);
      }
    }
  });

  it('name only labels, annotations, finalizers and taints the mesh has', () => {
    const keys = [meshFinalizer, meshNodeFinalizer, startupTaint.key];
    const known = new Set<string>([...Object.values(labels), ...Object.values(annotations), ...keys]);
    for (const page of pages) {
      for (const [label] of read(page).matchAll(/mesh\.tulle\.dev\/(?!v1)[a-z-]*[a-z]/g)) {
        assert.ok(known.has(label), `${page} names ${label}`);
      }
    }
  });

  it('list every port', () => {
    for (const [name, port] of Object.entries(ports)) {
      assert.match(read('ARCHITECTURE.md'), new RegExp(`^\\| ${port} +\\|`, 'm'), `ARCHITECTURE.md lacks ${name}`);
    }
  });

  it('explain every reason an agent gives', () => {
    const sources = globSync('dataplane/agent/src/enrol/*.rs', { cwd: root }).map(read).join('\n');
    const reasons = [...sources.matchAll(/(?:=>|(?:pending|failed)\()\s*"([A-Z]\w+)"/g)].map(([, reason]) => reason);
    assert.ok(reasons.length > 10);
    for (const reason of reasons) {
      assert.match(read('docs/user/troubleshooting.md'), new RegExp(`\`${reason}\``), `${reason} is not explained`);
    }
  });

  it('keep decisions short and list them all', () => {
    for (const decision of decisions) {
      assert.ok(read(decision).split('\n').length <= 41, `${decision} is longer than 40 lines`);
      assert.match(
        read('docs/adr/README.md'),
        new RegExp(decision.replace('docs/adr/', '')),
        `${decision} is not listed`,
      );
    }
  });
});

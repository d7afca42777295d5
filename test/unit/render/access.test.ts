import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { agentRules, controlRules, renderAccess } from '../../../src/render/access.ts';
import { retiredObjects } from '../../../src/render/known-objects.ts';
import { covers, installedRights, installedRoles, isRole, rightsOf } from '../../fixtures/rights.ts';

describe('the rights of each part', () => {
  it('have no wildcard', () => {
    for (const rule of [...installedRoles.flatMap(({ rules }) => rules), ...controlRules, ...agentRules]) {
      const { verbs } = rule;
      const about = 'nonResourceURLs' in rule ? rule.nonResourceURLs : [...rule.apiGroups, ...rule.resources];
      assert.ok(![...about, ...verbs].some((word) => word.includes('*')));
      assert.ok(!verbs.some((verb) => ['escalate', 'bind', 'impersonate', 'deletecollection'].includes(verb)));
    }
  });

  it('the operator cannot read a Secret, nor give itself or anybody else that right', () => {
    const rights = [...installedRights('ClusterRole', 'tulle-operator'), ...installedRights('Role', 'tulle-operator')];
    assert.deepEqual(
      rights.filter((right) => right.includes('/secrets')),
      ['delete /secrets tulle-ca'],
    );
    assert.deepEqual(
      rights.filter((right) => /\/(roles|rolebindings) /.test(right)),
      [],
    );
  });

  it('the operator grants exactly what is listed for control and agent, and nothing to the proxy', () => {
    const granted = renderAccess('default').filter(isRole);
    assert.deepEqual(
      granted.map(({ metadata, rules }) => [metadata.name, rules]),
      [
        ['tulle-control', controlRules],
        ['tulle-agent', agentRules],
      ],
    );
  });

  it('the operator may delete by name what earlier versions rendered', () => {
    const rights = [...installedRights('ClusterRole', 'tulle-operator'), ...installedRights('Role', 'tulle-operator')];
    for (const { name } of retiredObjects) {
      assert.ok(rights.some((right) => right.startsWith('delete ') && right.endsWith(` ${name}`)));
    }
  });

  it('an agent may ask for what it is seen to ask for, and nothing else', () => {
    const file = new URL('../../../dataplane/agent/tests/requests.txt', import.meta.url);
    const asked = readFileSync(file, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => line.split(' ').slice(0, 3).join(' '));
    const rights = [...rightsOf(agentRules)];
    assert.deepEqual(
      asked.filter((request) => !rights.some((right) => covers(right, request))),
      [],
    );
    assert.deepEqual(
      rights.filter((right) => !asked.some((request) => covers(right, request))),
      [],
    );
  });

  it('an agent writes nothing but the status of MeshNodes', () => {
    // A review is a question.
    const writes = [...rightsOf(agentRules)].filter((right) => !/^(get|list|watch) |reviews \*$/.test(right));
    assert.deepEqual(writes, ['patch mesh.tulle.dev/meshnodes/status *']);
  });

  it('control reaches one Secret and one ConfigMap of its own namespace', () => {
    const rights = [...installedRights('Role', 'tulle-control')];
    const unnamed = rights.filter((right) => right.endsWith(' *'));
    assert.deepEqual(unnamed.sort(), ['create /secrets *', 'create coordination.k8s.io/leases *']);
    assert.ok(!rights.some((right) => right.startsWith('delete')));
    assert.ok(![...rightsOf(controlRules)].some((right) => /secrets|configmaps/.test(right)));
  });
});

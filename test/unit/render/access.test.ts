import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';
import { parseMeshSpec } from '../../../src/api/mesh.ts';
import type { KubeObject } from '../../../src/kube/objects.ts';
import { type AccessRule, agentRules, controlRules, renderAccess } from '../../../src/render/access.ts';
import { retiredObjects } from '../../../src/render/known-objects.ts';
import { ownedKinds, renderMesh } from '../../../src/render/mesh-objects.ts';

interface Role extends KubeObject {
  rules: AccessRule[];
}

/** One right: `verb group/resource name`; name `*` where a rule names none. */
type Right = string;

const rightsOf = (rules: readonly AccessRule[]): Set<Right> => new Set(rules.flatMap(rightsOfRule));

function rightsOfRule(rule: AccessRule): Right[] {
  const { verbs } = rule;
  if ('nonResourceURLs' in rule) return rule.nonResourceURLs.flatMap((url) => verbs.map((verb) => `${verb} ${url}`));
  const { apiGroups, resources, resourceNames = ['*'] } = rule;
  return apiGroups.flatMap((group) =>
    resources.flatMap((resource) =>
      verbs.flatMap((verb) => resourceNames.map((name) => `${verb} ${group}/${resource} ${name}`)),
    ),
  );
}

function documents(file: string): KubeObject[] {
  return parseAllDocuments(readFileSync(new URL(`../../../config/rbac/${file}`, import.meta.url), 'utf8')).map(
    (document) => document.toJS(),
  );
}

const isRole = (object: KubeObject): object is Role => object.kind === 'Role' || object.kind === 'ClusterRole';
const roles = [...documents('operator.yaml'), ...documents('control-authority.yaml')].filter(isRole);
const rulesOf = (kind: string, name: string) => {
  const found = roles.find((role) => role.kind === kind && role.metadata.name === name);
  assert.ok(found);
  return found.rules;
};

/** What writing all objects that may be rendered takes: each by name; reading them, by collection. */
function rightsToOwn(scope: 'cluster' | 'namespace'): Right[] {
  const { spec } = parseMeshSpec({ enrolment: { podOptOut: 'Denied' } });
  assert.ok(spec);
  const features = { mutatingAdmission: 'v1' } as const;
  const release = { version: '0', image: 'a', nodeImage: 'b' };
  const objects = renderMesh(spec, { release, features, controlAddresses: [] }, 'default');
  return ownedKinds(features)
    .filter(({ path }) => path.includes('/namespaces/') === (scope === 'namespace'))
    .flatMap(({ apiVersion, kind, path }) => {
      const group = apiVersion.includes('/') ? apiVersion.split('/')[0] : '';
      const resource = `${group}/${path.slice(path.lastIndexOf('/') + 1)}`;
      const names = objects.filter((object) => object.kind === kind).map(({ metadata }) => metadata.name);
      const write = names.flatMap((name) => ['create', 'patch', 'delete'].map((verb) => `${verb} ${resource} ${name}`));
      const retired = retiredObjects.filter((object) => object.kind === kind);
      const remove = retired.map(({ name }) => `delete ${resource} ${name}`);
      return [`list ${resource} *`, `watch ${resource} *`, ...write, ...remove];
    });
}

describe('the rights of each part', () => {
  it('have no wildcard', () => {
    for (const rule of [...roles.flatMap(({ rules }) => rules), ...controlRules, ...agentRules]) {
      const { verbs } = rule;
      const about = 'nonResourceURLs' in rule ? rule.nonResourceURLs : [...rule.apiGroups, ...rule.resources];
      assert.ok(![...about, ...verbs].some((word) => word.includes('*')));
      assert.ok(!verbs.some((verb) => ['escalate', 'bind', 'impersonate', 'deletecollection'].includes(verb)));
    }
  });

  it('the operator holds across the cluster what it does and what it grants, no more and no less', () => {
    const mesh = 'mesh.tulle.dev';
    const does = [
      ...['list', 'watch'].flatMap((verb) => [`${verb} ${mesh}/meshes *`, `${verb} /nodes *`, `${verb} /namespaces *`]),
      'patch /nodes *',
      `patch ${mesh}/meshes default`,
      `patch ${mesh}/meshes/status *`,
      ...['list', 'watch', 'create', 'patch', 'delete'].flatMap((verb) => [
        `${verb} ${mesh}/meshnodes *`,
        `${verb} /configmaps tulle-trust-bundle`,
      ]),
      ...['create', 'patch'].map((verb) => `${verb} events.k8s.io/events *`),
    ];
    const granted = [...rightsOf(controlRules), ...rightsOf(agentRules)];
    const needed = new Set([...does, ...rightsToOwn('cluster'), ...granted]);
    assert.deepEqual([...rightsOf(rulesOf('ClusterRole', 'tulle-operator'))].sort(), [...needed].sort());
  });

  it('the operator holds in its namespace what it does, no more and no less', () => {
    const does = [
      'list /pods *',
      'delete /secrets tulle-ca',
      'delete /configmaps tulle-peers-told',
      'delete coordination.k8s.io/leases tulle-control',
      'create coordination.k8s.io/leases *',
      'get coordination.k8s.io/leases tulle-operator',
      'update coordination.k8s.io/leases tulle-operator',
    ];
    const needed = new Set([...does, ...rightsToOwn('namespace')]);
    assert.deepEqual([...rightsOf(rulesOf('Role', 'tulle-operator'))].sort(), [...needed].sort());
  });

  it('the operator cannot read a Secret, nor give itself or anybody else that right', () => {
    const rights = [
      ...rightsOf(rulesOf('ClusterRole', 'tulle-operator')),
      ...rightsOf(rulesOf('Role', 'tulle-operator')),
    ];
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

  it('an agent writes nothing but the status of MeshNodes', () => {
    const writes = [...rightsOf(agentRules)].filter((right) => !/^(get|list|watch) /.test(right));
    assert.deepEqual(writes, ['patch mesh.tulle.dev/meshnodes/status *']);
  });

  it('control reaches one Secret and one ConfigMap of its own namespace', () => {
    const rights = [...rightsOf(rulesOf('Role', 'tulle-control'))];
    const unnamed = rights.filter((right) => right.endsWith(' *'));
    assert.deepEqual(unnamed.sort(), ['create /secrets *', 'create coordination.k8s.io/leases *']);
    assert.ok(!rights.some((right) => right.startsWith('delete')));
    assert.ok(![...rightsOf(controlRules)].some((right) => /secrets|configmaps/.test(right)));
  });
});

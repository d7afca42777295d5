import { match, rejects, strictEqual } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { failureText } from '../../src/cli/failure.ts';
import { tulleProgram } from '../../src/cli/program.ts';
import { type ApiServer, startApiServer } from '../fixtures/apiserver.ts';

describe('the command line, on a real API server', function () {
  this.timeout(120_000);
  let api: ApiServer;

  before(async () => {
    api = await startApiServer();
  });

  after(() => api?.stop());

  /** Runs `tulle <args>`. @returns what it wrote */
  async function tulle(...args: string[]): Promise<string> {
    let written = '';
    const program = tulleProgram({
      env: { KUBECONFIG: api.kubeconfig },
      write: (text) => (written += text),
      now: Date.now,
    });
    await program.parseAsync(['node', 'tulle', ...args]);
    return written;
  }

  async function fails(expected: RegExp, ...args: string[]): Promise<void> {
    await rejects(tulle(...args), (error: unknown) => {
      match(failureText(error), expected);
      return true;
    });
  }

  it('says that Tulle is not installed, and how to', async () => {
    await fails(/not installed in this cluster.*\n.*make install/, 'status');
  });

  it('says that there is no Mesh, and how to make one', async () => {
    await api.apply(['mesh', 'meshnode'].map((kind) => readFileSync(`crds/${kind}.yaml`, 'utf8')).join('\n---\n'));
    await api.kubectl('wait', '--for=condition=Established', 'crd', '--all', '--timeout=20s');
    await fails(/no Mesh named default.*\n.*config\/samples\/mesh\.yaml/, 'status');
  });

  it('shows what the nodes report, as text and as JSON', async () => {
    await api.apply(readFileSync('config/samples/mesh.yaml', 'utf8'));
    await api.apply(
      JSON.stringify({ apiVersion: 'mesh.tulle.dev/v1alpha1', kind: 'MeshNode', metadata: { name: 'node-1' } }),
    );
    const pod = { uid: 'u', namespace: 'shop', name: 'web', serviceAccount: 'web', captured: true, state: 'Secured' };
    const status = { agent: { version: '0.1.0' }, pods: [{ ...pod, since: '2026-01-01T00:00:00Z' }] };
    await api.kubectl(
      'patch',
      'meshnode',
      'node-1',
      '--subresource=status',
      '--type=merge',
      '-p',
      JSON.stringify({ status }),
    );
    match(await tulle('status'), /shop +web +node-1 +Secured/);
    await fails(/no namespace bank.*\n.*kubectl get namespaces/, 'status', '-n', 'bank');
    match(await tulle('status', '-n', 'default'), /No pod is in the mesh here/);
    const report: unknown = JSON.parse(await tulle('status', '-o', 'json'));
    match(JSON.stringify(report), /"name":"web","node":"node-1","state":"Secured"/);
  });

  it('says which file, context or right is missing', async () => {
    await fails(/kubeconfig \/nowhere does not exist.*\n.*--kubeconfig/, '--kubeconfig', '/nowhere', 'status');
    await fails(/has no context nowhere, only .+\n.*kubectl config/, '--context', 'nowhere', 'status');
  });

  it('says that the API server does not answer', async () => {
    await api.pause();
    await fails(/does not answer.*\n.*kubectl cluster-info/, 'status');
    await api.resume();
  });

  it('knows its version without a cluster', async () => {
    strictEqual(await tulle('version'), `tulle ${JSON.parse(readFileSync('package.json', 'utf8')).version}\n`);
  });
});

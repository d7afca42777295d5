import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A line as the process writes it: pino writes to the descriptor, past process.stdout. */
async function lineOf(fields: string): Promise<Record<string, unknown>> {
  const module = new URL('../../../src/telemetry/logger.ts', import.meta.url).href;
  const script = `import('${module}').then(({ createLogger }) => createLogger('test', 'info').info(${fields}, 'said'))`;
  const { stdout } = await run(process.execPath, ['-e', script]);
  return JSON.parse(stdout);
}

describe('the log', () => {
  it('is one JSON object a line, with the component and a time people can read', async () => {
    const { level, component, msg, time, namespace } = await lineOf(`{ namespace: 'shop' }`);
    assert.deepEqual([level, component, msg, namespace], ['info', 'test', 'said', 'shop']);
    assert.match(String(time), /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  });

  it('does not show tokens and keys, even when they are passed', async () => {
    const line = await lineOf(
      `{ token: 't0p', request: { headers: { authorization: 't0p' }, token: 't0p' }, ca: { privateKey: 't0p' } }`,
    );
    assert.doesNotMatch(JSON.stringify(line), /t0p/);
  });
});

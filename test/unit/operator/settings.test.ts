import assert from 'node:assert/strict';
import { isTulleError } from '../../../src/errors/tulle-error.ts';
import { operatorSettings } from '../../../src/operator/settings.ts';

describe('the settings of the operator', () => {
  const env = { TULLE_VERSION: '0.1.0', TULLE_IMAGE: 'a', TULLE_NODE_IMAGE: 'b', TULLE_POD_NAME: 'operator-1' };

  it('come from the environment', () => {
    assert.deepEqual(operatorSettings({ ...env, TULLE_HTTP_PORT: '9090' }), {
      release: { version: '0.1.0', image: 'a', nodeImage: 'b' },
      instance: 'operator-1',
      telemetryPort: 9090,
      metricsPort: 8443,
    });
    assert.equal(operatorSettings(env).telemetryPort, 8080);
  });

  for (const [name, value] of [
    ['TULLE_VERSION', ''],
    ['TULLE_IMAGE', undefined],
    ['TULLE_NODE_IMAGE', undefined],
    ['TULLE_HTTP_PORT', 'eighty'],
    ['TULLE_HTTP_PORT', '65536'],
  ] as const) {
    it(`are refused with ${name}=${value}, naming it`, () => {
      assert.throws(
        () => operatorSettings({ ...env, [name]: value }),
        (error) => isTulleError(error, 'EnvironmentInvalid') && error.message.includes(name),
      );
    });
  }
});

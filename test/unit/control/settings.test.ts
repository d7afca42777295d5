import { deepStrictEqual, match, throws } from 'node:assert/strict';
import { controlSettings } from '../../../src/cmd/control/settings.ts';

describe('the environment of tulle-control', () => {
  it('has a default for everything', () => {
    const { instance, ...settings } = controlSettings({});
    const { version, ...rest } = settings;
    deepStrictEqual(rest, {
      trustDomain: 'cluster.local',
      grpcPort: 15012,
      httpPort: 8080,
      metricsPort: 8443,
      leaveMs: 3000,
    });
    match(version, /^\d+\.\d+\.\d+/);
    deepStrictEqual(instance.length > 0, true);
  });

  it('is refused by the name of what is wrong in it', () => {
    for (const value of ['http', '-1', '65536', '1.5']) {
      throws(() => controlSettings({ TULLE_GRPC_PORT: value }), {
        code: 'EnvironmentInvalid',
        message: /TULLE_GRPC_PORT/,
      });
    }
  });
});

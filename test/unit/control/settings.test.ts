import { deepStrictEqual, match, throws } from 'node:assert/strict';
import { controlSettings } from '../../../src/control/settings.ts';

describe('the environment of tulle-control', () => {
  it('has a default for everything', () => {
    const { instance, ...settings } = controlSettings({});
    const { version, ...rest } = settings;
    deepStrictEqual(rest, {
      trustDomain: 'cluster.local',
      grpcPort: 15012,
      httpPort: 8080,
      metricsPort: 8443,
      plaintextMetricsPort: undefined,
      leaveMs: 3000,
    });
    match(version, /^\d+\.\d+\.\d+/);
    deepStrictEqual(instance.length > 0, true);
  });

  it('R20 opens a port without TLS only where it is told of one', () => {
    deepStrictEqual(controlSettings({ TULLE_PLAINTEXT_METRICS_PORT: '15014' }).plaintextMetricsPort, 15014);
    deepStrictEqual(controlSettings({ TULLE_PLAINTEXT_METRICS_PORT: '' }).plaintextMetricsPort, undefined);
    throws(() => controlSettings({ TULLE_PLAINTEXT_METRICS_PORT: 'yes' }), /TULLE_PLAINTEXT_METRICS_PORT/);
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

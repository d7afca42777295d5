import { deepStrictEqual, strictEqual } from 'node:assert/strict';
import { contains, parseCidr } from '../../../src/model/cidr.ts';
import { canonicalIp, ipBytes } from '../../../src/model/ip.ts';
import { podFacts } from '../../../src/model/pod-facts.ts';
import { appProtocol, serviceFacts } from '../../../src/model/service-facts.ts';
import { pod, service } from './objects.ts';

describe('the facts of a pod', () => {
  it('are none for a pod that is finished, not placed, or without an address', () => {
    strictEqual(podFacts(pod({ name: 'p', phase: 'Succeeded' })), undefined);
    strictEqual(podFacts(pod({ name: 'p', phase: 'Failed' })), undefined);
    strictEqual(podFacts(pod({ name: 'p', node: '' })), undefined);
    strictEqual(podFacts(pod({ name: 'p', ips: [] })), undefined);
    strictEqual(podFacts(pod({ name: 'p', ips: ['not an address'] })), undefined);
  });

  it('call it healthy while it is ready and not on its way out', () => {
    strictEqual(podFacts(pod({ name: 'p' }))?.healthy, true);
    strictEqual(podFacts(pod({ name: 'p', ready: false }))?.healthy, false);
    strictEqual(podFacts(pod({ name: 'p', deleted: true }))?.healthy, false);
  });

  const owners: [kind: string, name: string, type: string, workload: string][] = [
    ['ReplicaSet', 'web-5d4f8', 'Deployment', 'web'],
    ['ReplicaSet', 'by-hand', 'Deployment', 'by-hand'],
    ['StatefulSet', 'redis', 'Pod', 'redis'],
    ['DaemonSet', 'logs-5d4f8', 'Pod', 'logs-5d4f8'],
    ['Job', 'backup', 'Job', 'backup'],
    ['Job', 'backup-29012345', 'CronJob', 'backup'],
  ];
  for (const [kind, name, type, workload] of owners) {
    it(`name ${type} ${workload} for a pod of ${kind} ${name}`, () => {
      const facts = podFacts(pod({ name: 'p', labels: { 'pod-template-hash': '5d4f8' }, owner: { kind, name } }));
      deepStrictEqual([facts?.workloadType, facts?.workloadName], [type, workload]);
    });
  }

  it('take the canonical name and revision from the labels, the recommended ones first', () => {
    const canonical = (labels: Record<string, string>) => {
      const facts = podFacts(pod({ name: 'p', labels }));
      return [facts?.canonicalName, facts?.canonicalRevision];
    };
    deepStrictEqual(canonical({}), ['p', 'latest']);
    deepStrictEqual(canonical({ app: 'a', version: 'v1' }), ['a', 'v1']);
    const recommended = { 'app.kubernetes.io/name': 'n', 'app.kubernetes.io/version': '2.0' };
    deepStrictEqual(canonical({ app: 'a', version: 'v1', ...recommended }), ['n', '2.0']);
  });
});

describe('the facts of a service', () => {
  it('have both addresses of a dual-stack one, and none of a headless one', () => {
    const dual = service({ name: 's', clusterIPs: ['10.96.0.1', 'fd00::1'], spec: { ipFamilies: ['IPv4', 'IPv6'] } });
    deepStrictEqual(serviceFacts(dual)?.service.addresses, ['10.96.0.1', 'fd00:0:0:0:0:0:0:1']);
    strictEqual(serviceFacts(dual)?.service.ipFamilies, 'Dual');
    deepStrictEqual(serviceFacts(service({ name: 's', clusterIPs: ['None'] }))?.service.addresses, []);
  });

  it('have TCP ports only, a named target as 0', () => {
    const ports = [
      { name: 'dns', port: 53, protocol: 'UDP' },
      { name: 'dns-tcp', port: 53, protocol: 'TCP', targetPort: 'dns' },
      { name: 'grpc-api', port: 9, targetPort: 1 },
    ];
    deepStrictEqual(serviceFacts(service({ name: 's', ports }))?.service.ports, [
      { servicePort: 9, targetPort: 1, appProtocol: 'Grpc' },
      { servicePort: 53, targetPort: 0, appProtocol: 'Unknown' },
    ]);
  });

  it('are none for a service that is only a name', () => {
    strictEqual(serviceFacts(service({ name: 's', spec: { type: 'ExternalName' } })), undefined);
  });

  it('say what to do with pods that are not ready, and who is near', () => {
    const facts = serviceFacts(
      service({ name: 's', spec: { publishNotReadyAddresses: true, internalTrafficPolicy: 'Local' } }),
    );
    strictEqual(facts?.service.allowsUnhealthy, true);
    deepStrictEqual(facts.service.routing, { preference: ['Node'], mode: 'Strict' });
  });

  it('say how long a client keeps its endpoint: as long as the Service says, else three hours, and not without affinity', () => {
    const seconds = (spec: object) => serviceFacts(service({ name: 's', spec }))?.service.affinitySeconds;
    const clientIP = { timeoutSeconds: 60 };
    strictEqual(seconds({ sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP } }), 60);
    strictEqual(seconds({ sessionAffinity: 'ClientIP' }), 10_800);
    strictEqual(seconds({ sessionAffinity: 'None', sessionAffinityConfig: { clientIP } }), 0);
    strictEqual(seconds({}), 0);
  });

  it('know protocols in any case, and admit what they do not know', () => {
    deepStrictEqual(['HTTP', 'kubernetes.io/h2c', 'https', 'tcp', 'mongo', ''].map(appProtocol), [
      'Http11',
      'Http2',
      'Tls',
      'Tcp',
      'Unknown',
      'Unknown',
    ]);
  });
});

describe('a range of addresses', () => {
  const holds = (range: string, address: string) => {
    const cidr = parseCidr(range);
    const ip = canonicalIp(address);
    return cidr !== undefined && ip !== undefined && contains(cidr, ip);
  };

  it('contains what its prefix says', () => {
    for (const [range, address] of [
      ['10.0.0.0/8', '10.255.0.1'],
      ['10.0.0.4/31', '10.0.0.5'],
      ['0.0.0.0/0', '1.2.3.4'],
      ['fd00::/9', 'fd7f::1'],
    ] as const) {
      strictEqual(holds(range, address), true, range);
    }
    for (const [range, address] of [
      ['10.0.0.4/31', '10.0.0.6'],
      ['10.0.0.0/8', 'fd00::1'],
      ['::/0', '10.0.0.1'],
    ] as const) {
      strictEqual(holds(range, address), false, range);
    }
  });

  it('is nothing else than a range', () => {
    for (const text of [
      '',
      '10.0.0.0',
      '10.0.0.0/33',
      '10.0.0.0/-1',
      '10.0.0.0/8/8',
      'fd00::/129',
      'a/8',
      '10.0.0.0/1e1',
    ]) {
      strictEqual(parseCidr(text), undefined, text);
    }
  });
});

describe('an address', () => {
  it('has one text, however it is written', () => {
    for (const text of ['fd00::1', 'FD00:0::1', 'fd00:0000:0000:0:0:0:0:0001']) {
      strictEqual(canonicalIp(text), 'fd00:0:0:0:0:0:0:1');
    }
    strictEqual(canonicalIp('::ffff:10.0.0.1'), '10.0.0.1');
    strictEqual(canonicalIp('::ffff:a00:1'), '10.0.0.1');
    strictEqual(canonicalIp('::'), '0:0:0:0:0:0:0:0');
  });

  it('is nothing else than an address', () => {
    for (const text of ['', 'None', '10.0.0', '010.0.0.1', '10.0.0.1/8', 'fe80::1%eth0', '1::2::3', 'a']) {
      strictEqual(canonicalIp(text), undefined, text);
    }
  });

  it('is 4 or 16 bytes in network order', () => {
    const bytes = (text: string) => {
      const ip = canonicalIp(text);
      return ip === undefined ? [] : [...ipBytes(ip)];
    };
    deepStrictEqual(bytes('10.1.2.3'), [10, 1, 2, 3]);
    deepStrictEqual(bytes('1:2::fffe'), [0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe]);
  });
});

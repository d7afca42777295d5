import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:tls';
import { controlDnsNames, tokenExtra } from '../../../src/api/names.ts';
import { createCallerVerifier } from '../../../src/ca/issuance/caller.ts';
import type { PodLookup } from '../../../src/ca/issuance/pod-lookup.ts';
import { statusCodes } from '../../../src/grpc/status.ts';
import { systemClock } from '../../../src/kube/clock.ts';
import { anyKeys, CountingReviewer, podOf, pods, proxyPod, proxyReview, tokenOf } from '../../fixtures/ca/callers.ts';
import type { Answer } from '../../fixtures/ca/certificate-client.ts';
import { type IssuingControl, startIssuingControl } from '../../fixtures/ca/issuing-control.ts';
import { MemoryCluster } from '../../fixtures/ca/memory-stores.ts';
import { RecordingLog } from '../../fixtures/ca/recording-log.ts';
import { createCertificate } from '../../fixtures/grpc/methods.ts';

const token = tokenOf('signature-that-is-secret');
const strangerTokens = new Set(Array.from({ length: 12 }, (_, index) => tokenOf(`stranger-${index}`)));
const identity = 'spiffe://cluster.local/ns/shop/sa/cart';

describe('the certificate service on the wire', () => {
  const log = new RecordingLog();
  const reviewer = new CountingReviewer();
  const outcomes: string[] = [];
  let lookup: PodLookup = pods([proxyPod, podOf()]);
  let control: IssuingControl;

  before(async () => {
    const cluster = new MemoryCluster();
    control = await startIssuingControl({
      secrets: cluster.secrets,
      bundles: cluster.bundles,
      evidence: cluster.evidence,
      callers: createCallerVerifier({ reviewer, keys: anyKeys, clock: systemClock }),
      pods: {
        podByName: (...asked) => lookup.podByName(...asked),
        podsOnNode: (...asked) => lookup.podsOnNode(...asked),
      },
      service: {
        log,
        onOutcome: (outcome) => outcomes.push(outcome),
        limits: { running: 4, waiting: 8, waitingEach: 8 },
        openCalls: { proxies: { each: 60, all: 60 }, others: { each: 1, all: 2 } },
        random: () => 0.5,
      },
    });
  });

  after(() => control.stop());

  beforeEach(() => {
    log.lines.length = 0;
    outcomes.length = 0;
    lookup = pods([proxyPod, podOf()]);
    reviewer.answer = async () => proxyReview();
  });

  it('answers with the leaf first and the bundle last, and writes one line for the auditor', async () => {
    const { chain } = await control.ask({ token, identity, validitySeconds: 900 });
    assert.equal(chain?.length, 2);
    assert.equal(chain[1], control.authority.bundle()?.pem);
    const leaf = new X509Certificate(chain[0] ?? '');
    const [line, ...more] = log.lines;
    assert.equal(more.length, 0);
    assert.deepEqual(line, {
      level: 'info',
      message: 'certificate issued',
      fields: {
        identity,
        caller: 'tulle-system/proxy-1',
        callerUid: 'uid-proxy-1',
        node: 'node-1',
        serial: leaf.serialNumber.toLowerCase(),
        notAfter: leaf.validToDate.toISOString(),
      },
    });
    assert.deepEqual(outcomes, ['OK']);
  });

  it('R01 says what was asked for and why it is refused', async () => {
    lookup = pods([proxyPod]);
    const { refused } = await control.ask({ token, identity });
    assert.equal(refused?.status, 'PERMISSION_DENIED');
    assert.match(
      refused.details,
      /proxy-1 asked for spiffe:\/\/cluster\.local\/ns\/shop\/sa\/cart .*no pod with this identity runs on node node-1/,
    );
    assert.deepEqual(outcomes, ['PERMISSION_DENIED']);
  });

  for (const [what, ask, details] of [
    ['a request that is not one', { csr: 'x' }, /PEM/],
    ['a malformed identity', { identity: 'spiffe://Cluster.local/x' }, /SPIFFE ID/],
    ['an identity that is not a text', { metadata: { ImpersonatedIdentity: 7 } }, /not a text/],
    ['a negative validity', { identity, validitySeconds: -1 }, /negative/],
  ] as const) {
    it(`answers INVALID_ARGUMENT to ${what}`, async () => {
      const { refused } = await control.ask({ token, ...ask });
      assert.equal(refused?.status, 'INVALID_ARGUMENT');
      assert.match(refused.details, details);
    });
  }

  it('answers UNAUTHENTICATED without a token and with a bad one', async () => {
    assert.equal((await control.ask({ identity })).refused?.status, 'UNAUTHENTICATED');
    reviewer.answer = async () => proxyReview({ authenticated: false });
    assert.equal((await control.ask({ token: tokenOf('another'), identity })).refused?.status, 'UNAUTHENTICATED');
  });

  it('answers UNAVAILABLE when tokens or pods cannot be looked up, and keeps the inner error to the log', async () => {
    lookup = {
      podByName: () => Promise.reject(new Error('GET https://10.0.0.1/api: ECONNREFUSED')),
      podsOnNode: () => Promise.resolve([]),
    };
    const { refused } = await control.ask({ token, identity });
    assert.equal(refused?.status, 'UNAVAILABLE');
    assert.doesNotMatch(refused.details, /10\.0\.0\.1/);
    assert.match(log.text(), /ECONNREFUSED/);
    reviewer.answer = () => Promise.reject(new Error('ECONNREFUSED'));
    assert.equal((await control.ask({ token: tokenOf('unknown-yet'), identity })).refused?.status, 'UNAVAILABLE');
  });

  it('R13 sends a burst away with RESOURCE_EXHAUSTED and a hint when to come back, and serves the rest', async () => {
    const answers: Answer[] = await Promise.all(Array.from({ length: 60 }, () => control.ask({ token, identity })));
    const refusals = answers.flatMap(({ refused }) => (refused === undefined ? [] : [refused]));
    assert.ok(refusals.length > 0 && refusals.length < 60, `${refusals.length} of 60 were sent away`);
    for (const { status, metadata } of refusals) {
      assert.equal(status, 'RESOURCE_EXHAUSTED');
      assert.deepEqual(metadata.get('grpc-retry-pushback-ms'), ['3000']);
    }
    assert.ok((await control.ask({ token, identity })).chain, 'afterwards all is as before');
  });

  it('gives nobody a place in the queue before it is known who they are', async () => {
    await control.ask({ token, identity });
    const gate = Promise.withResolvers<void>();
    reviewer.answer = () => gate.promise.then(() => proxyReview({ authenticated: false }));
    const strangers = Array.from(strangerTokens, (token) => control.ask({ token, identity }));
    const asked = () => reviewer.asked.filter((each) => strangerTokens.has(each)).length;
    for (let turns = 0; asked() < 12 && turns < 10_000; turns++) await new Promise((resolve) => setImmediate(resolve));
    const underReview = asked();
    const known = underReview === 12 ? await control.ask({ token, identity }) : undefined;
    gate.resolve();
    assert.equal(underReview, 12);
    assert.ok(known?.chain, 'who is known is served meanwhile');
    for (const { refused } of await Promise.all(strangers)) assert.equal(refused?.status, 'UNAUTHENTICATED');
  });

  describe('R38 of one who calls and never finishes', () => {
    const opened: ClientHttp2Session[] = [];

    afterEach(() => {
      for (const session of opened.splice(0)) session.destroy();
    });

    /** A call without its message. @returns its status when it has one, undefined while it is open */
    async function openCall(token: string): Promise<number | undefined> {
      const session = connectHttp2(`https://127.0.0.1:${control.port}`, { rejectUnauthorized: false });
      opened.push(session);
      const stream = session.request({
        ':method': 'POST',
        ':path': createCertificate.path,
        'content-type': 'application/grpc',
        authorization: `Bearer ${token}`,
      });
      const answered = new Promise<number>((resolve) =>
        stream.once('response', (headers) => resolve(Number(headers['grpc-status']))),
      );
      stream.on('error', () => {}).resume();
      stream.write(Buffer.alloc(3));
      const asked = () => reviewer.asked.includes(token);
      for (let turns = 0; !asked() && turns < 10_000; turns++) await new Promise((resolve) => setImmediate(resolve));
      const pong = new Promise<undefined>((resolve) => session.ping(() => resolve(undefined)));
      return Promise.race([answered, pong]);
    }

    const from = (namespace: string, account: string) => async () =>
      proxyReview({
        user: {
          username: `system:serviceaccount:${namespace}:${account}`,
          extra: { [tokenExtra.podName]: ['cart-0'], [tokenExtra.podUid]: ['uid-cart-0'] },
        },
      });

    it('only the share of its namespace is taken, whatever service accounts it has, and node proxies are served', async () => {
      reviewer.answer = from('shop', 'cart');
      assert.equal(await openCall(tokenOf('open-1')), undefined);
      reviewer.answer = from('shop', 'another');
      assert.equal(await openCall(tokenOf('open-2')), statusCodes.RESOURCE_EXHAUSTED);
      reviewer.answer = from('bank', 'ledger');
      assert.equal(await openCall(tokenOf('open-3')), undefined);
      reviewer.answer = async () => proxyReview();
      assert.ok((await control.ask({ token: tokenOf('proxy'), identity })).chain);
    });
  });

  it('never writes a token or a key into a log line or an answer', async () => {
    await control.ask({ token, identity });
    await control.ask({ token, identity: 'spiffe://cluster.local/ns/shop/sa/nobody' });
    reviewer.answer = () => Promise.reject(new Error(`POST {"token":"${token}x"}`));
    const { refused } = await control.ask({ token: `${token}x`, identity });
    for (const text of [log.text(), refused?.details ?? '']) {
      assert.ok(!text.includes('signature-that-is-secret') && !text.includes('PRIVATE KEY'));
    }
  });

  it("follows the renewal of the server's certificate without a restart", async () => {
    const served = () =>
      new Promise<string>((resolve, reject) => {
        const socket = connect({
          host: '127.0.0.1',
          port: control.port,
          servername: controlDnsNames[0] ?? '',
          ca: control.authority.bundle()?.pem ?? '',
          ALPNProtocols: ['h2'],
        });
        socket.on('error', reject);
        socket.on('secureConnect', () => {
          resolve(socket.getPeerX509Certificate()?.serialNumber ?? '');
          socket.destroy();
        });
      });
    const first = await served();
    control.renewServer();
    assert.notEqual(await served(), first);
    assert.ok((await control.ask({ token, identity })).chain);
  });
});

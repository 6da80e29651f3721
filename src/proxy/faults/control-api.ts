import type { IncomingMessage, Server } from 'node:http';
import { Counter, Gauge, Registry } from 'prom-client';
import { z } from 'zod';
import { AppError, reasonOf } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import {
  TOXIC_ATTRIBUTES,
  TOXIC_STREAMS,
  type Toxic,
  type ToxicStream,
  type ToxicType,
} from '../../documents/faults.ts';
import { METRICS_TYPE } from '../control/metrics.ts';
import { type Endpoint, formatEndpoint, parseEndpoint } from '../net/endpoint.ts';
import { type Answer, bodyOf, json, smallServer } from '../net/small-server.ts';
import type { FaultProxy } from './fault-proxy.ts';
import { ControlError, type FaultRelay } from './relay.ts';

/** Names the lease that a fault is set under. */
const LEASE_HEADER = 'x-reprise-lease';
const LONGEST_LEASE_S = 3_600;

const REQUEST_MS = 10_000;
const NOTHING: Answer = { status: 204, type: 'application/json', body: '' };

/** Half of a surrogate pair is no text: no URL and no header can contain it. */
const nameText = z
  .string()
  .max(200)
  .refine((name) => name.isWellFormed(), 'is not well-formed Unicode');
const proxyBody = z.object({
  name: nameText.default(''),
  listen: z.string().optional(),
  upstream: z.string().optional(),
  enabled: z.boolean().optional(),
});
const toxicBody = z.object({
  name: nameText.default(''),
  type: z.string().default(''),
  stream: z.string().default('downstream'),
  toxicity: z.number().min(0).max(1).default(1),
  attributes: z.record(z.string(), z.unknown()).default({}),
});
const toxicChange = z.object({
  toxicity: z.number().min(0).max(1).optional(),
  attributes: z.record(z.string(), z.unknown()).default({}),
});
const leaseBody = z.object({ seconds: z.number().positive().max(LONGEST_LEASE_S) });

/**
 * The control API of a relay: Toxiproxy 2's paths, bodies and words, so that its clients work unchanged.
 * `/leases/{id}`, `/counts` and `/connections` are our additions. Like Toxiproxy it refuses browsers, because a web
 * page must not reach a local port.
 */
export class ControlApi {
  readonly server: Server;
  readonly #relay: FaultRelay;
  readonly #version: string;
  /** The last request. They are handled one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(relay: FaultRelay, version: string) {
    this.#relay = relay;
    this.#version = version;
    this.server = smallServer({
      connections: LIMITS.probeConnections,
      callers: 'programs',
      requestMs: REQUEST_MS,
      takesBodies: true,
      answer: (request) => this.#answerOf(request),
    });
  }

  async #answerOf(request: IncomingMessage): Promise<Answer> {
    const { headers, method = 'GET', url = '/' } = request;
    try {
      const path = (url.split('?')[0] ?? '/').split('/').slice(1).map(decodeURIComponent);
      const body =
        method === 'POST' || method === 'PATCH' || method === 'PUT'
          ? await bodyOf(request, LIMITS.faultBodyBytes)
          : '';
      if (body === null) throw new ControlError('bad request body: it is too large', 413);
      const lease = headers[LEASE_HEADER];
      const asked: Asked = {
        method: method === 'PATCH' ? 'POST' : method,
        path,
        body,
        lease: lease ? String(lease) : null,
      };
      const turn = this.#last.then(() => this.#route(asked));
      this.#last = turn.catch(() => undefined);
      return await turn;
    } catch (thrown) {
      return refusalOf(thrown);
    }
  }

  async #route(asked: Asked): Promise<Answer> {
    const { method, path, body } = asked;
    const [first, proxy, second, toxic, ...rest] = path;
    if (rest.length > 0) return notFound();
    if (first === 'proxies') {
      if (proxy === undefined) return await this.#proxies(method, body);
      if (second === undefined) return await this.#proxy(proxy, asked);
      if (second === 'toxics') return this.#toxics(this.#relay.proxy(proxy), toxic ?? null, asked);
      return notFound();
    }
    if (first === 'leases' && proxy !== undefined && second === undefined)
      return await this.#lease(proxy, method, body);
    if (proxy !== undefined) return notFound();
    if (first === 'reset' && method === 'POST') {
      await this.#relay.reset();
      return NOTHING;
    }
    if (first === 'populate' && method === 'POST') return await this.#populate(body);
    if (method !== 'GET') return notFound();
    if (first === 'version') return json(200, { version: this.#version });
    if (first === 'counts') return json(200, this.#relay.counts);
    if (first === 'connections') {
      return json(
        200,
        Object.fromEntries(this.#relay.proxies.map(({ name, traffic }) => [name, traffic.connections])),
      );
    }
    if (first === 'metrics') {
      return { status: 200, type: METRICS_TYPE, body: await relayMetricsOf(this.#relay) };
    }
    return notFound();
  }

  async #proxies(method: string, body: string): Promise<Answer> {
    if (method === 'GET') {
      return json(200, Object.fromEntries(this.#relay.proxies.map((each) => [each.name, shown(each)])));
    }
    if (method !== 'POST') return notFound();
    const stated = read(proxyBody, body);
    return json(201, shown(await this.#relay.create(pairOf(stated, ''), stated.enabled ?? true)));
  }

  async #proxy(name: string, { method, body, lease }: Asked): Promise<Answer> {
    const proxy = this.#relay.proxy(name);
    if (method === 'GET') return json(200, shown(proxy));
    if (method === 'DELETE') {
      this.#relay.delete(name);
      return NOTHING;
    }
    if (method !== 'POST') return notFound();
    const { listen, upstream, enabled = proxy.enabled } = read(proxyBody, body);
    this.#relay.mustLease(lease);
    const isMoved =
      (listen !== undefined && listen !== formatEndpoint(proxy.listen)) ||
      (upstream !== undefined && upstream !== formatEndpoint(proxy.upstream));
    const change = {
      listen: listen === undefined ? proxy.listen : endpointOf(listen, 'listen'),
      upstream: upstream === undefined ? proxy.upstream : endpointOf(upstream, 'upstream'),
      enabled,
      moved: isMoved,
    };
    await this.#relay.update(proxy, change, lease);
    return json(200, shown(proxy));
  }

  /** A refusal has `proxies` too, which is null. */
  async #populate(body: string): Promise<Answer> {
    try {
      return await this.#populated(body);
    } catch (thrown) {
      if (!(thrown instanceof ControlError)) throw thrown;
      return json(thrown.status, { error: thrown.message, status: thrown.status, proxies: null });
    }
  }

  async #populated(body: string): Promise<Answer> {
    const stated = read(z.array(proxyBody), body);
    const pairs = stated.map((each, index) => ({
      ...pairOf(each, ` at proxy ${index + 1}`),
      enabled: each.enabled ?? true,
    }));
    const proxies: FaultProxy[] = [];
    for (const { enabled, ...pair } of pairs) {
      const existing = this.#relay.proxies.find(({ name }) => name === pair.name);
      const isSame =
        existing !== undefined &&
        formatEndpoint(existing.listen) === formatEndpoint(pair.listen) &&
        formatEndpoint(existing.upstream) === formatEndpoint(pair.upstream);
      if (existing !== undefined && !isSame) this.#relay.delete(pair.name);
      proxies.push(isSame ? existing : await this.#relay.create(pair, enabled));
    }
    return json(201, { proxies: proxies.map(shown) });
  }

  #toxics(proxy: FaultProxy, name: string | null, { method, body, lease }: Asked): Answer {
    if (name === null) {
      if (method === 'GET') return json(200, shown(proxy).toxics);
      if (method !== 'POST') return notFound();
      this.#relay.mustLease(lease);
      const toxic = toxicOf(read(toxicBody, body));
      this.#relay.add(proxy, toxic, lease);
      return json(200, toxic);
    }
    const active = this.#relay.toxic(proxy, name);
    if (method === 'GET') return json(200, active.toxic);
    if (method === 'DELETE') {
      proxy.remove(active);
      return NOTHING;
    }
    if (method !== 'POST') return notFound();
    const { attributes, toxicity = active.toxic.toxicity } = read(toxicChange, body);
    const { type } = active.toxic;
    const changed = {
      ...active.toxic,
      attributes: attributesOf(type, { ...active.toxic.attributes, ...attributes }),
      toxicity,
    };
    proxy.change(active, changed);
    return json(200, changed);
  }

  async #lease(lease: string, method: string, body: string): Promise<Answer> {
    if (method === 'PUT') {
      const { seconds } = read(leaseBody, body);
      this.#relay.renew(lease, seconds);
      return json(200, { lease, seconds });
    }
    if (method !== 'DELETE') return notFound();
    this.#relay.mustLease(lease);
    await this.#relay.endLease(lease);
    return NOTHING;
  }
}

interface Asked {
  readonly method: string;
  readonly path: readonly string[];
  readonly body: string;
  readonly lease: string | null;
}

function notFound(): Answer {
  return { status: 404, type: 'text/plain', body: '404 page not found\n' };
}

/** A proxy in the form of Toxiproxy: faults on what clients send come first. */
function shown(proxy: FaultProxy) {
  const toxics = proxy.toxics.map(({ toxic }) => toxic);
  return {
    name: proxy.name,
    listen: formatEndpoint(proxy.listen),
    upstream: formatEndpoint(proxy.upstream),
    enabled: proxy.enabled,
    toxics: TOXIC_STREAMS.flatMap((stream) => toxics.filter((each) => each.stream === stream)),
  };
}

function pairOf({ name, listen, upstream }: z.output<typeof proxyBody>, where: string) {
  if (name === '') throw new ControlError(`missing required field: name${where}`, 400);
  if (upstream === undefined || upstream === '') {
    throw new ControlError(`missing required field: upstream${where}`, 400);
  }
  // Without an address Toxiproxy takes a free port.
  return {
    name,
    listen: endpointOf(listen || '127.0.0.1:0', 'listen'),
    upstream: endpointOf(upstream, 'upstream'),
  };
}

function endpointOf(text: string, what: string): Endpoint {
  return parseEndpoint(text, what, { anyPort: what === 'listen' });
}

function toxicOf({ name, type, stream, toxicity, attributes }: z.output<typeof toxicBody>): Toxic {
  if (!isStream(stream))
    throw new ControlError('stream was invalid, can be either upstream or downstream', 400);
  if (!Object.hasOwn(TOXIC_ATTRIBUTES, type)) throw new ControlError('invalid toxic type', 400);
  const known = type as ToxicType;
  return {
    attributes: attributesOf(known, attributes),
    name: name === '' ? `${type}_${stream}` : name,
    type: known,
    stream,
    toxicity,
  };
}

function isStream(text: string): text is ToxicStream {
  return TOXIC_STREAMS.some((stream) => stream === text);
}

function attributesOf(type: ToxicType, attributes: object): Toxic['attributes'] {
  return readAs(TOXIC_ATTRIBUTES[type], attributes) as Toxic['attributes'];
}

function read<Type extends z.ZodType>(schema: Type, body: string): z.output<Type> {
  let document: unknown;
  try {
    document = JSON.parse(body);
  } catch (error) {
    throw new ControlError(`bad request body: ${reasonOf(error)}`, 400);
  }
  return readAs(schema, document);
}

function readAs<Type extends z.ZodType>(schema: Type, document: unknown): z.output<Type> {
  const result = schema.safeParse(document);
  if (result.success) return result.data;
  const reasons = result.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  throw new ControlError(`bad request body: ${reasons.join('; ')}`, 400);
}

function refusalOf(thrown: unknown): Answer {
  if (thrown instanceof ControlError) {
    return json(thrown.status, { error: thrown.message, status: thrown.status });
  }
  const isAsked = thrown instanceof AppError && thrown.code === 'OPTION_INVALID';
  const status = isAsked || thrown instanceof URIError ? 400 : 500;
  return json(status, { error: reasonOf(thrown), status });
}

const PROXY_LABELS = ['direction', 'proxy', 'listener', 'upstream'] as const;

/** The counts in the format of Prometheus. The first two have Toxiproxy's names. */
export async function relayMetricsOf(relay: FaultRelay): Promise<string> {
  const registry = new Registry();
  const counter = (name: string, help: string, labelNames: readonly string[]) =>
    new Counter({ name, help, labelNames: [...labelNames], registers: [registry] });
  const received = counter('toxiproxy_proxy_received_bytes_total', 'Bytes read, by direction', PROXY_LABELS);
  const sent = counter('toxiproxy_proxy_sent_bytes_total', 'Bytes written, by direction', PROXY_LABELS);
  const connections = counter('reprise_faults_connections_total', 'Connections of clients, by outcome', [
    'proxy',
    'outcome',
  ]);
  const throttled = counter('reprise_faults_throttled_total', 'Times a direction held all it may', ['proxy']);
  const injected = counter('reprise_faults_injected_total', 'Times a fault acted', [
    'proxy',
    'toxic',
    'type',
  ]);
  const touched = counter('reprise_faults_touched_connections_total', 'Connections a fault was on', [
    'proxy',
    'toxic',
    'type',
  ]);
  const capped = counter(
    'reprise_faults_capped_total',
    'Faults refused because as many were on as may be',
    [],
  );
  new Gauge({ name: 'reprise_faults_active', help: 'Faults that are on', registers: [registry] }).set(
    relay.activeFaults,
  );
  new Gauge({
    name: 'reprise_faults_open_connections',
    help: 'Open connections of clients',
    registers: [registry],
  }).set(relay.openConnections);
  capped.inc(relay.cappedFaults);
  for (const { name, listen, upstream, traffic } of relay.proxies) {
    const where = { proxy: name, listener: formatEndpoint(listen), upstream: formatEndpoint(upstream) };
    for (const direction of TOXIC_STREAMS) {
      received.inc({ direction, ...where }, traffic.receivedBytes[direction]);
      sent.inc({ direction, ...where }, traffic.sentBytes[direction]);
    }
    connections.inc({ proxy: name, outcome: 'accepted' }, traffic.connections);
    connections.inc({ proxy: name, outcome: 'turned_away' }, traffic.turnedAway);
    connections.inc({ proxy: name, outcome: 'unreachable' }, traffic.unreachable);
    throttled.inc({ proxy: name }, traffic.throttled);
  }
  for (const { connections: on, injected: times, ...labels } of relay.counts) {
    injected.inc(labels, times);
    touched.inc(labels, on);
  }
  return await registry.metrics();
}

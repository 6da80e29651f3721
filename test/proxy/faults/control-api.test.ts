import { describe, expect, it } from 'vitest';
import { echoServer, startRelay } from '../../support/fault-relay.ts';

async function api(stated: Parameters<typeof startRelay>[1] = {}) {
  const { origin, ...relay } = await startRelay(`127.0.0.1:${await echoServer()}`, stated);
  const ask = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
    const response = await fetch(`${origin}${path}`, {
      method,
      headers: { 'user-agent': 'test', ...headers },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.startsWith('application/json');
    return { status: response.status, body: isJson && text !== '' ? JSON.parse(text) : text };
  };
  return { ...relay, ask };
}

describe('the control API', () => {
  it('makes, shows, moves and deletes proxies', async () => {
    const { ask } = await api();
    const made = await ask('POST', '/proxies', {
      name: 'more',
      listen: '127.0.0.1:0',
      upstream: '127.0.0.1:1',
    });
    expect(made).toMatchObject({
      status: 201,
      body: { name: 'more', upstream: '127.0.0.1:1', enabled: true, toxics: [] },
    });
    expect(made.body.listen).toMatch(/^127\.0\.0\.1:[1-9]\d*$/);
    expect(Object.keys((await ask('GET', '/proxies')).body)).toEqual(['dep', 'more']);
    const moved = await ask('PATCH', '/proxies/more', { upstream: '127.0.0.1:2', enabled: false });
    expect(moved.body).toMatchObject({ upstream: '127.0.0.1:2', enabled: false, listen: made.body.listen });
    expect((await ask('POST', '/reset')).status).toBe(204);
    expect((await ask('GET', '/proxies/more')).body.enabled).toBe(true);
    expect((await ask('DELETE', '/proxies/more')).status).toBe(204);
    expect((await ask('GET', '/proxies/more')).status).toBe(404);
  });

  it('fills several proxies in at once, and leaves those that are the same', async () => {
    const { ask } = await api();
    const { body: before } = await ask('GET', '/proxies/dep');
    const { status, body } = await ask('POST', '/populate', [
      { name: 'dep', listen: before.listen, upstream: before.upstream },
      { name: 'off', listen: '127.0.0.1:0', upstream: '127.0.0.1:1', enabled: false },
    ]);
    expect(status).toBe(201);
    expect(
      body.proxies.map(({ name, enabled }: { name: string; enabled: boolean }) => [name, enabled]),
    ).toEqual([
      ['dep', true],
      ['off', false],
    ]);
    expect(body.proxies[0].listen).toBe(before.listen);
  });

  it('sets, changes and removes faults, with the defaults of Toxiproxy', async () => {
    const { ask } = await api();
    const path = '/proxies/dep/toxics';
    expect(await ask('POST', path, { type: 'latency', attributes: { latency: 5 } })).toEqual({
      status: 200,
      body: {
        attributes: { latency: 5, jitter: 0 },
        name: 'latency_downstream',
        type: 'latency',
        stream: 'downstream',
        toxicity: 1,
      },
    });
    const changed = await ask('POST', `${path}/latency_downstream`, {
      attributes: { jitter: 2 },
      toxicity: 0.5,
    });
    expect(changed.body).toMatchObject({ attributes: { latency: 5, jitter: 2 }, toxicity: 0.5 });
    expect((await ask('GET', `${path}/latency_downstream`)).body).toEqual(changed.body);
    await ask('POST', path, { type: 'timeout', stream: 'upstream', name: 'hole' });
    expect((await ask('GET', path)).body.map(({ name }: { name: string }) => name)).toEqual([
      'hole',
      'latency_downstream',
    ]);
    expect((await ask('DELETE', `${path}/hole`)).status).toBe(204);
    expect((await ask('DELETE', `${path}/hole`)).body).toEqual({ error: 'toxic not found', status: 404 });
  });

  it('refuses in the words of Toxiproxy', async () => {
    const { ask } = await api({ maxFaults: '1' });
    const refusals = [
      [await ask('GET', '/proxies/none'), 404, 'proxy not found'],
      [await ask('POST', '/proxies', { name: 'dep', upstream: '127.0.0.1:1' }), 409, 'proxy already exists'],
      [await ask('POST', '/proxies', { upstream: '127.0.0.1:1' }), 400, 'missing required field: name'],
      [await ask('POST', '/proxies', { name: 'x' }), 400, 'missing required field: upstream'],
      [
        await ask('POST', '/proxies/dep/toxics', { type: 'latency', stream: 'up' }),
        400,
        'stream was invalid, can be either upstream or downstream',
      ],
      [await ask('POST', '/proxies/dep/toxics', { type: 'flood' }), 400, 'invalid toxic type'],
    ] as const;
    for (const [answer, status, error] of refusals)
      expect(answer).toEqual({ status, body: { error, status } });
    expect((await ask('POST', '/proxies', 'no JSON')).body.error).toMatch(/^bad request body/);
    expect((await ask('POST', '/proxies/dep/toxics', { type: 'bandwidth' })).body.error).toMatch(/rate/);
    await ask('POST', '/proxies/dep/toxics', { type: 'timeout' });
    expect((await ask('POST', '/proxies/dep/toxics', { type: 'timeout' })).status).toBe(409);
    expect(
      (await ask('POST', '/proxies/dep/toxics', { type: 'slicer', attributes: { average_size: 1 } })).status,
    ).toBe(429);
    expect((await ask('GET', '/metrics')).body).toContain('reprise_faults_capped_total 1');
  });

  it('refuses what would hang or end the relay', async () => {
    const { ask } = await api();
    const slicer = { average_size: 10, size_variation: 10 };
    const refused = [
      ['/proxies/dep/toxics', { type: 'slicer', attributes: slicer }],
      [
        '/proxies/dep/toxics',
        { type: 'slicer', attributes: { average_size: 2 ** 33, size_variation: 2 ** 32 } },
      ],
      ['/proxies/dep/toxics', { type: 'http_error', name: '\ud800' }],
      ['/proxies', { name: '\udfff', upstream: '127.0.0.1:1' }],
    ] as const;
    for (const [path, body] of refused) expect(await ask('POST', path, body)).toMatchObject({ status: 400 });
    const stated = { type: 'slicer', name: 's', attributes: { ...slicer, size_variation: 9 } };
    expect((await ask('POST', '/proxies/dep/toxics', stated)).status).toBe(200);
    const changed = { attributes: { average_size: 9 } };
    expect((await ask('POST', '/proxies/dep/toxics/s', changed)).status).toBe(400);
  });

  it('is closed to browsers and to large bodies', async () => {
    const { ask } = await api();
    expect((await ask('GET', '/proxies', undefined, { 'user-agent': 'Mozilla/5.0' })).status).toBe(403);
    expect((await ask('POST', '/reset', undefined, { origin: 'http://evil.example' })).status).toBe(403);
    expect((await ask('POST', '/populate', 'x'.repeat(2 * 1024 * 1024))).status).toBe(413);
    expect((await ask('GET', '/nothing')).status).toBe(404);
  });
});

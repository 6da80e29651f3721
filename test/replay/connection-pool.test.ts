import { describe, expect, it } from 'vitest';
import { poolTo, serve } from '../support/transport-stage.ts';

describe('a pool of connections', () => {
  it('closes what is there when it is closed, and knows nothing of what was gone before', async () => {
    const server = await serve();
    const pool = poolTo(server.origin);
    const retired: string[] = [];
    const [gone, live] = [pool.acquire(), pool.acquire()];
    gone.retire();
    for (const [name, connection] of Object.entries({ gone, live })) {
      const retire = connection.retire.bind(connection);
      connection.retire = () => {
        retired.push(name);
        retire();
      };
    }
    pool.close();
    expect(retired).toEqual(['live']);
  });
});

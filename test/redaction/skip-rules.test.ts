import { describe, expect, it } from 'vitest';
import { Routes } from '../../src/core/routes.ts';
import { Redaction } from '../../src/redaction/head-redaction.ts';
import { DEFAULT_SKIP_RULES, SkipRules } from '../../src/redaction/recording-policy.ts';

function skips(rules: readonly string[], method: string, target: string): boolean {
  return new SkipRules(rules).skips(method, target, new Routes(new Redaction()).of(method, target));
}

describe('skip rules', () => {
  it.each([
    ['health', 'GET', '/v2/health/ready'],
    ['health', 'HEAD', '/healthz?verbose'],
    ['health', 'GET', '/metrics'],
    ['health', 'GET', '/ping'],
    ['health', 'GET', '/v2/models/resnet/ready'],
    ['health', 'GET', 'http://10.0.0.1:8080/livez'],
    ['health', 'POST', '/grpc.health.v1.Health/Check'],
    ['health', 'POST', '/grpc.health.v1.Health/Watch'],
    ['health', 'POST', '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo'],
    ['health', 'POST', '/inference.GRPCInferenceService/ModelReady'],
    ['path:/inference.*', 'POST', '/inference.GRPCInferenceService/ModelInfer'],
    ['path:/admin/*', 'POST', '/admin/reload?x=1'],
    ['path:/exact', 'GET', '/exact#f'],
    ['route:GET /v2/models/{model}', 'GET', '/v2/models/bert'],
    ['route:POST /v2/models/{model}/*', 'POST', '/v2/models/bert/infer'],
    ['method:options', 'OPTIONS', '*'],
  ])('%s leaves out %s %s', (rule, method, target) => {
    expect(skips([rule], method, target)).toBe(true);
  });

  it.each([
    ['health', 'POST', '/ping'],
    ['health', 'GET', '/v1/models'],
    ['health', 'GET', '/v1/models/bert'],
    ['health', 'GET', '/healthcare'],
    ['health', 'POST', '/v2/models/ready/infer'],
    ['health', 'POST', '/inference.GRPCInferenceService/ModelInfer'],
    ['health', 'POST', '/my.grpc.health.v1.Health/Check'],
    ['path:/admin/*', 'GET', '/administrator'],
    ['path:/exact', 'GET', '/exact/no'],
    ['route:GET /v2/models/{model}', 'POST', '/v2/models/bert'],
    ['method:OPTIONS', 'GET', '/'],
    ['none', 'GET', '/healthz'],
  ])('%s leaves in %s %s', (rule, method, target) => {
    expect(skips([rule], method, target)).toBe(false);
  });

  it('are probes unless said otherwise, and add up', () => {
    expect(skips(DEFAULT_SKIP_RULES, 'GET', '/readyz')).toBe(true);
    expect(skips(['method:PUT', 'path:/x'], 'GET', '/x')).toBe(true);
    expect(skips([], 'GET', '/readyz')).toBe(false);
  });

  it('judge each path by itself, however often they are asked', () => {
    const rules = new SkipRules(['path:/v2/models/a/*']);
    const routes = new Routes(new Redaction());
    for (let round = 0; round < 3; round += 1) {
      expect(rules.skips('POST', '/v2/models/a/infer', routes.of('POST', '/v2/models/a/infer'))).toBe(true);
      expect(rules.skips('POST', '/v2/models/b/infer', routes.of('POST', '/v2/models/b/infer'))).toBe(false);
    }
  });

  it.each([
    ['helth'],
    ['path:'],
    ['path:*'],
    ['path:x'],
    ['route:/x'],
    ['route:GET x'],
    ['method:A B'],
    [''],
  ])('are refused with a way out when they cannot be meant: %s', (rule) => {
    expect(() => new SkipRules([rule])).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID', hint: expect.stringContaining('path:/prefix*') }),
    );
  });

  it('refuse none beside others, and more than anybody needs', () => {
    expect(() => new SkipRules(['none', 'health'])).toThrow(/combined with others/);
    expect(() => new SkipRules(Array.from({ length: 65 }, (_, index) => `path:/${index}`))).toThrow(
      /more than 64/,
    );
  });
});

/**
 * Words that paths of model servers and names of public models are made of. In a profile that is shared, a name
 * made of these alone is kept; any other may be a customer's, a tenant's or a person's, and becomes a number.
 */
const WORDS = [
  // Paths.
  'api v models model infer inference generate stream predict predictions prediction explain explanations classify',
  'classification regress regression invocations invoke ping health healthz live livez ready readyz metrics metadata',
  'status stats config repository index load unload versions version labels label openai deployments chat completions',
  'completion embeddings embedding embed responses response rerank score audio speech transcriptions translations',
  'images image generations edits variations moderations files batches threads assistants messages message count',
  'tokens tokenize detokenize input output text fine tuning jobs events tags show pull push delete copy create ps',
  'blobs wfpredict workflow server models management docs redoc json favicon ico robots txt http https get post id',
  'authority endpoint endpoints serve serving run runs sync async batch queue detect detection segment segmentation',
  'search query similarity features feature vision llm nlp asr tts ocr',
  // Families of public models, and how their variants are called.
  'gpt turbo mini nano o davinci babbage curie ada omni preview llama codellama qwen qwq mistral mixtral ministral',
  'codestral gemma gemini phi claude opus sonnet haiku deepseek coder yi falcon bloom opt mpt dbrx command cohere',
  'granite olmo nemotron smollm tinyllama vicuna alpaca zephyr starcoder stablelm glm chatglm internlm baichuan kimi',
  'bert distilbert roberta xlm albert electra deberta minilm mpnet bge gte e colbert splade t ul flan bart pegasus',
  'marian nllb clip blip siglip vit deit swin convnext resnet resnext densenet vgg inception mobilenet efficientnet',
  'alexnet squeezenet yolo rcnn ssd detr unet sam dino dinov mask faster stable diffusion sd sdxl flux dit whisper',
  'wav vec hubert tacotron xgboost lightgbm catboost sklearn pmml onnx tensorrt torchscript pytorch tensorflow iris',
  'mnist cifar imagenet squad demo example test simple identity add sub ensemble',
  'base small medium large xl xxl tiny big huge instruct it chat reasoning thinking distill vl moe pro lite flash fast',
  'latest quant quantized fp int bf awq gptq gguf q k m s b x en multilingual uncased cased ft hf',
].join(' ');

const PUBLIC: ReadonlySet<string> = new Set(WORDS.split(/\s+/));

/** Whether a name is made of public words and short numbers alone: `llama-3.1-8b-instruct`, `v2`, `resnet50`. */
export function isPublicName(name: string): boolean {
  if (!/^[A-Za-z0-9._:-]{1,80}$/.test(name)) return false;
  const parts = name.toLowerCase().match(/[a-z]+|\d+/g) ?? [];
  return parts.length > 0 && parts.every((part) => (/^\d/.test(part) ? part.length <= 4 : PUBLIC.has(part)));
}

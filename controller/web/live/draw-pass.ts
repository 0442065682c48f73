import type { GpuOutput } from '@espalier/shared/runtime/webgpu-picture'

/**
 * A picture's floats as they lie in the runtime's buffer, drawn on a canvas of the picture's size: one triangle over
 * all of it, one read of three floats for each pixel, rounded as the decoder's own last step would.
 */
const SHADER = /* wgsl */ `
struct Frame {
  // Of the buffer, which holds whole blocks; the canvas shows its upper left.
  width: u32,
  height: u32,
  isPlanar: u32,
}
@group(0) @binding(0) var<storage, read> levels: array<f32>;
@group(0) @binding(1) var<uniform> frame: Frame;

@vertex fn cover(@builtin(vertex_index) index: u32) -> @builtin(position) vec4f {
  return vec4f(f32(index & 1u) * 4.0 - 1.0, f32(index >> 1u) * 4.0 - 1.0, 0.0, 1.0);
}

@fragment fn pixel(@builtin(position) position: vec4f) -> @location(0) vec4f {
  let place = u32(position.y) * frame.width + u32(position.x);
  let area = frame.width * frame.height;
  let first = select(place * 3u, place, frame.isPlanar == 1u);
  let step = select(1u, area, frame.isPlanar == 1u);
  let rgb = vec3f(levels[first], levels[first + step], levels[first + 2u * step]);
  return vec4f(clamp(round(rgb), vec3f(0.0), vec3f(255.0)) / 255.0, 1.0);
}
`

/** Of the shader's `Frame`, filled up to the next 16. */
const FRAME_BYTES = 16

/** Draws pictures from buffers of the GPU; one for a device, whatever the number of canvases. */
export class DrawPass {
  readonly #device: GPUDevice
  readonly #pipeline: GPURenderPipeline
  readonly #format: GPUTextureFormat
  readonly #frame: GPUBuffer
  readonly #contexts = new WeakMap<OffscreenCanvas, GPUCanvasContext>()

  private constructor(device: GPUDevice, pipeline: GPURenderPipeline, format: GPUTextureFormat) {
    this.#device = device
    this.#pipeline = pipeline
    this.#format = format
    this.#frame = device.createBuffer({
      size: FRAME_BYTES,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    })
  }

  /** @throws {GPUPipelineError} If the device refuses the shader. */
  static async open(device: GPUDevice): Promise<DrawPass> {
    const format = navigator.gpu.getPreferredCanvasFormat()
    const module = device.createShaderModule({ code: SHADER })
    const pipeline = await device.createRenderPipelineAsync({
      layout: 'auto',
      vertex: { module, entryPoint: 'cover' },
      fragment: { module, entryPoint: 'pixel', targets: [{ format }] },
      primitive: { topology: 'triangle-list' },
    })
    return new DrawPass(device, pipeline, format)
  }

  /**
   * Draw, and wait until it is drawn.
   *
   * @param size Of the picture: the canvas takes it.
   */
  async draw(
    canvas: OffscreenCanvas,
    { buffer, dims }: Pick<GpuOutput, 'buffer' | 'dims'>,
    isPlanar: boolean,
    size: { readonly width: number; readonly height: number },
  ): Promise<void> {
    const device = this.#device
    if (canvas.width !== size.width) canvas.width = size.width
    if (canvas.height !== size.height) canvas.height = size.height
    const context = this.#contextOf(canvas)
    const [rows, columns] = isPlanar ? [dims[2]!, dims[3]!] : [dims[1]!, dims[2]!]
    device.queue.writeBuffer(this.#frame, 0, new Uint32Array([columns, rows, isPlanar ? 1 : 0, 0]))
    const group = device.createBindGroup({
      layout: this.#pipeline.getBindGroupLayout(0),
      entries: [
        { binding: 0, resource: { buffer: buffer as unknown as GPUBuffer } },
        { binding: 1, resource: { buffer: this.#frame } },
      ],
    })
    const encoder = device.createCommandEncoder()
    const pass = encoder.beginRenderPass({
      colorAttachments: [{ view: context.getCurrentTexture().createView(), loadOp: 'clear', storeOp: 'store' }],
    })
    pass.setPipeline(this.#pipeline)
    pass.setBindGroup(0, group)
    pass.draw(3)
    pass.end()
    device.queue.submit([encoder.finish()])
    await device.queue.onSubmittedWorkDone()
  }

  #contextOf(canvas: OffscreenCanvas): GPUCanvasContext {
    const known = this.#contexts.get(canvas)
    if (known !== undefined) return known
    const context = canvas.getContext('webgpu') as GPUCanvasContext | null
    if (context === null) throw new Error('Cannot draw: the canvas has another kind of context')
    context.configure({ device: this.#device, format: this.#format, alphaMode: 'opaque' })
    this.#contexts.set(canvas, context)
    return context
  }
}

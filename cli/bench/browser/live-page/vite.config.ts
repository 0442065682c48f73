import { defineConfig } from 'vite'
import { liveViteSettings } from '../../../../controller/web/live/vite-settings.ts'

export default defineConfig({ ...liveViteSettings, root: import.meta.dirname, build: { target: 'es2022' } })

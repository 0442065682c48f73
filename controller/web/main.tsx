import { render } from 'preact'
import { App } from './app.tsx'
import './styles/theme.css'
import './styles/base.css'
import './styles/parts.css'
import './styles/pages.css'
import 'uplot/dist/uPlot.min.css'

render(<App />, document.getElementById('app')!)

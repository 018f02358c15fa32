-- `:checkhealth midfill`
local M = {}

function M.check()
  local health = vim.health
  health.start('midfill')
  if vim.fn.has('nvim-0.10') == 0 then
    health.error('Neovim 0.10 or newer is needed.')
    return
  end
  health.ok('Neovim ' .. tostring(vim.version()))
  local options = require('midfill').options
  local program = options.cmd[1]
  if vim.fn.executable(program) == 0 then
    health.error(
      ('`%s` cannot be run.'):format(program),
      { 'Install it with `pipx install midfill[llama]` or `uv tool install midfill[llama]`.', 'Or name it in `cmd`.' }
    )
    return
  end
  health.ok('The server is ' .. vim.fn.exepath(program))
  local off = require('midfill.ghost').muted_types()
  if not options.auto then
    health.info('Ghost text is off everywhere; `:Midfill enable all` switches it on.')
  elseif #off > 0 then
    health.info(('Ghost text is off for %s; `:Midfill enable %s` switches it on.'):format(table.concat(off, ', '), off[1]))
  end
  local servers = vim.lsp.get_clients({ name = 'midfill' })
  if #servers == 0 then
    health.warn('No server runs.', { "Open a file after `require('midfill').setup({})`." })
  end
  for _, server in ipairs(servers) do
    local n_buffers = vim.tbl_count(server.attached_buffers)
    local theirs = (server.server_info or {}).version
    if theirs and theirs ~= require('midfill').version then
      local ours = require('midfill').version
      health.warn(('The server is of release %s, this plugin of %s.'):format(theirs, ours), { 'Update the older one.' })
    end
    health.ok(('A server runs for %s, with %d buffers.'):format(server.config.root_dir or 'no folder', n_buffers))
  end
  local command = require('midfill.client').shell(options, { 'doctor' })
  if command then
    local done = vim.system(command, { text = true }):wait(60000)
    health.info(vim.trim((done.stdout or '') .. (done.stderr or '')))
  end
end

return M

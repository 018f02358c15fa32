-- The language client: starts `midfill serve`, one for each root, and speaks to it in every Neovim since 0.10.
local M = {}

local IS_NEW = vim.fn.has('nvim-0.11') == 1

---@type table<integer, table> what `midfill/status` told last, by the client's id
local told = {}
---@type table<string, boolean> programs that were missed, so that this is said once
local missed = {}

--- Attach a buffer, if it is text that a person edits.
---@param bufnr integer
---@param options table
function M.attach(bufnr, options)
  if vim.bo[bufnr].buftype ~= '' or not vim.bo[bufnr].modifiable then
    return
  end
  if options.filetypes and not vim.tbl_contains(options.filetypes, vim.bo[bufnr].filetype) then
    return
  end
  local program = options.cmd[1]
  if vim.fn.executable(program) == 0 then
    if not missed[program] then
      missed[program] = true
      local how = '`uv tool install midfill[llama]` installs it, and :checkhealth midfill tells more.'
      vim.notify(('Midfill: `%s` cannot be run; %s'):format(program, how), vim.log.levels.WARN)
    end
    return
  end
  local capabilities = vim.lsp.protocol.make_client_capabilities()
  capabilities.textDocument.inlineCompletion = { dynamicRegistration = false }
  -- Without this an action comes as a command, so that its edit can be looked at before it is made.
  capabilities.textDocument.codeAction.dataSupport = false
  capabilities.experimental = { midfill = { status = true, explanation = true, instruction = true } }
  -- An empty table would go out as a list.
  local settings = next(options.settings) and options.settings or vim.empty_dict()
  vim.lsp.start({
    name = 'midfill',
    cmd = options.cmd,
    root_dir = vim.fs.root(bufnr, { 'midfill.toml', '.git' }),
    capabilities = capabilities,
    init_options = settings,
    settings = { midfill = settings },
    handlers = {
      ['midfill/status'] = function(_, status, context)
        told[context.client_id] = status
        vim.cmd.redrawstatus()
      end,
      ['midfill/explanation'] = function(_, part)
        require('midfill.explain').told(part)
      end,
    },
    on_exit = function(_, _, client_id)
      told[client_id] = nil
    end,
  }, {
    bufnr = bufnr,
    -- Neovim 0.10 would start another one for each event of a file that is in no folder.
    reuse_client = function(other, config)
      local is_stopped = IS_NEW and other:is_stopped() or not IS_NEW and other.is_stopped()
      return other.name == config.name and other.config.root_dir == config.root_dir and not is_stopped
    end,
  })
end

--- The client of a buffer, or nil.
---@param bufnr integer?
---@return vim.lsp.Client?
function M.of(bufnr)
  return vim.lsp.get_clients({ bufnr = bufnr or vim.api.nvim_get_current_buf(), name = 'midfill' })[1]
end

--- How the server of a buffer is, as it told last; without one the state is `not attached`.
---@param bufnr integer?
---@return table with state, model and message
function M.status(bufnr)
  local server = M.of(bufnr)
  return server and (told[server.id] or { state = 'starting' }) or { state = 'not attached' }
end

--- What runs another of the server's commands: `midfill doctor` where `cmd` is `midfill serve …`.
---@param options table
---@param words string[]
---@return string[]? nil where that does not follow from `cmd`
function M.shell(options, words)
  for index, word in ipairs(options.cmd) do
    if word == 'serve' then
      return vim.list_extend(vim.list_slice(options.cmd, 1, index - 1), words)
    end
  end
end

--- Ask; `answered(error, result)` is called unless it is cancelled. Returns a function that cancels.
---@param client vim.lsp.Client
---@param method string
---@param params table
---@param bufnr integer
---@param answered fun(error: table?, result: any)
---@return fun()
function M.ask(client, method, params, bufnr, answered)
  local is_over = false
  local function once(error, result)
    if not is_over then
      is_over = true
      answered(error, result)
    end
  end
  local sent, id
  if IS_NEW then
    sent, id = client:request(method, params, once, bufnr)
  else
    sent, id = client.request(method, params, once, bufnr)
  end
  return function()
    if sent and not is_over then
      is_over = true
      if IS_NEW then
        client:cancel_request(id)
      else
        client.cancel_request(id)
      end
    end
  end
end

--- The byte of a line where a position of the protocol stands.
---@param line string
---@param units integer
---@param encoding string
---@return integer
function M.bytes(line, units, encoding)
  if encoding == 'utf-8' then
    return math.min(units, #line)
  end
  if IS_NEW then
    return vim.str_byteindex(line, encoding, units, false)
  end
  return vim.str_byteindex(line, math.min(units, vim.fn.strutf16len(line)), encoding == 'utf-16')
end

--- Tell the server something that needs no answer.
---@param client vim.lsp.Client
---@param method string
---@param params table
function M.tell(client, method, params)
  if IS_NEW then
    client:notify(method, params)
  else
    client.notify(method, params)
  end
end

--- Stop every server; buffers are attached anew when they are entered next, or by `attach`.
function M.stop()
  for _, client in ipairs(vim.lsp.get_clients({ name = 'midfill' })) do
    if IS_NEW then
      client:stop()
    else
      client.stop()
    end
  end
end

return M

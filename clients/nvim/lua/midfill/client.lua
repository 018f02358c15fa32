-- The language client: starts `midfill serve`, one for each root, and speaks to it in every Neovim since 0.10.
local M = {}

local IS_NEW = vim.fn.has('nvim-0.11') == 1

---@type table<string, any> what `midfill/status` told last
M.status = { state = 'starting' }

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
  local capabilities = vim.lsp.protocol.make_client_capabilities()
  capabilities.textDocument.inlineCompletion = { dynamicRegistration = false }
  capabilities.experimental = { midfill = { status = true, explanation = true, instruction = true } }
  vim.lsp.start({
    name = 'midfill',
    cmd = options.cmd,
    root_dir = vim.fs.root(bufnr, { 'midfill.toml', '.git' }),
    capabilities = capabilities,
    init_options = options.settings,
    settings = { midfill = options.settings },
    handlers = {
      ['midfill/status'] = function(_, status)
        M.status = status
        vim.cmd.redrawstatus()
      end,
      ['midfill/explanation'] = function(_, told)
        require('midfill.explain').told(told)
      end,
    },
    on_exit = function()
      M.status = { state = 'off' }
    end,
  }, { bufnr = bufnr })
end

--- The client of a buffer, or nil.
---@param bufnr integer?
---@return vim.lsp.Client?
function M.of(bufnr)
  return vim.lsp.get_clients({ bufnr = bufnr or vim.api.nvim_get_current_buf(), name = 'midfill' })[1]
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
